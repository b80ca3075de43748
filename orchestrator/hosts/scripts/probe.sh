# Prints what the host is, in one round trip. stdin: "file PATH", "tree PATH" (all below it is
# ours), "directory PATH", "account NAME", "unit NAME" and "package NAME" lines.
# Changes nothing. Facts are tab-separated, one a line.
export LC_ALL=C
state=/var/lib/mailfleet
input=$(cat)
pick() { printf '%s\n' "$input" | sed -n "s/^$1 //p"; }

. /etc/os-release
printf 'os\t%s%s\n' "$ID" "$VERSION_ID"
printf 'user\t%s\n' "$(id -u)"
printf 'generation\t%s\n' "$(cat $state/generation 2>/dev/null || echo 0)"
for daemon in postfix dovecot opendkim; do
  printf 'applied\t%s\t%s\n' "$daemon" "$(cat $state/applied/$daemon 2>/dev/null)"
done
{ pick file; pick tree | xargs -r -d '\n' -I{} find {} -type f 2>/dev/null; } | sort -u |
  xargs -r -d '\n' sh -c '
    stat -c "file	%a	%U	%G	%n" -- "$@" 2>/dev/null
    sha256sum -- "$@" 2>/dev/null | sed "s/^\\\\\{0,1\}\([0-9a-f]*\)  /digest	\1	/"
  ' sh
pick file | sed 's/$/.db/' | xargs -r -d '\n' sh -c '
  for index; do [ -s "$index" ] && [ ! "${index%.db}" -nt "$index" ] && printf "index\t%s\n" "${index%.db}"; done
  true' sh
pick directory | xargs -r -d '\n' stat -c 'directory	%a	%U	%G	%n' -- 2>/dev/null
for account in $(pick account); do
  uid=$(id -u "$account" 2>/dev/null) && printf 'account\t%s\t%s\t%s\t%s\n' "$account" "$uid" "$(id -g "$account")" "$(id -nG "$account")"
done
units=$(pick unit)
[ -z "$units" ] || systemctl show --property=Id,ActiveState,UnitFileState $units |
  awk -F= -v OFS='\t' '/^Id=/{i=$2} /^ActiveState=/{a=$2} /^UnitFileState=/{u=$2} /^$/{print "unit",i,a,u;i=""} END{if(i)print "unit",i,a,u}'
packages=$(pick package)
[ -z "$packages" ] || dpkg-query -W -f 'package\t${Package}\t${db:Status-Abbrev}\t${Version}\n' $packages 2>/dev/null
df -Pk /etc /var | awk 'NR>1{print "disk\t" $6 "\t" $4}'
printf 'queue\t%s\n' "$(find /var/spool/postfix/active /var/spool/postfix/deferred /var/spool/postfix/incoming -type f 2>/dev/null | wc -l)"
printf 'clock\t%s\n' "$(date +%s)"
printf 'end\n'
