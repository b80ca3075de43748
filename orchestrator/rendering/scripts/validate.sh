# Asks the daemons' own parsers about the staged files in $FILES, laid over those in force.
# Changes nothing that is in force; works in a copy that names its own files. What is asked
# about follows.
export LC_ALL=C
checked=$(mktemp -d "$FILES.XXXXXX")
trap 'rm -rf "$checked"' EXIT
refuse() { echo "$1"; exit 1; }
# overlay PATTERN...: these files below /etc, as they would be.
overlay() {
  for pattern; do
    for root in /etc "$FILES/etc"; do
      for file in "$root"/$pattern; do
        [ -f "$file" ] || continue
        copy=$checked/etc${file#"$root"}
        mkdir -p "${copy%/*}"
        cp "$file" "$copy"
      done
    done
  done
}
# renamed FILE...: they name the copies instead of the final files. Keys stay where they are.
renamed() {
  sed -i "s#/etc/\(mailfleet\|postfix/[a-z]\|dovecot/[a-z]\|opendkim/[^k]\|opendkim/key_\)#$checked/etc/\1#g" "$@"
}
