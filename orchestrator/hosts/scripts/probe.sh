# Prints what the host is, in one round trip. stdin: "file PATH", "tree PATH" (all below it is
# ours), "directory PATH", "account NAME", "unit NAME", "package NAME", "entries PATH" and
# "purged PATH" (nothing may be left of it) lines.
# Changes nothing. Facts are tab-separated, one a line. For bash: what it can do itself costs no
# process, and the two programs that take longest run beside the rest.
export LC_ALL=C
state=/var/lib/mailfleet
files=() trees=() directories=() accounts=() units=() packages=() entries=()
while read -r kind name; do
  case $kind in
    file) files+=("$name") ;;
    tree) trees+=("$name") ;;
    directory) directories+=("$name") ;;
    account) accounts+=("$name") ;;
    unit) units+=("$name") ;;
    package) packages+=("$name") ;;
    entries) entries+=("$name") ;;
    purged) [ -e "$name" ] || [ -L "$name" ] || printf 'purged\t%s\n' "$name" ;;
  esac
done
[ ${#units[@]} = 0 ] || exec {services}< <(systemctl show --property=Id,ActiveState,UnitFileState -- "${units[@]}" 2>/dev/null)
[ ${#packages[@]} = 0 ] || exec {installed}< <(dpkg-query -W -f 'package\t${Package}\t${db:Status-Abbrev}\t${Version}\n' -- "${packages[@]}" 2>/dev/null)

. /etc/os-release
printf 'os\t%s%s\n' "$ID" "$VERSION_ID"
printf 'user\t%s\n' "$EUID"
generation=0
[ ! -r $state/generation ] || read -r generation <$state/generation
printf 'generation\t%s\n' "${generation:-0}"
for daemon in postfix dovecot opendkim mailfleet-pace sessions; do
  digest=
  [ ! -r $state/applied/$daemon ] || read -r digest <$state/applied/$daemon
  printf 'applied\t%s\t%s\n' "$daemon" "$digest"
done
if [ ${#trees[@]} != 0 ]; then
  while IFS= read -r -d '' path; do files+=("$path"); done < <(find "${trees[@]}" -type f -print0 2>/dev/null)
fi
existing=()
declare -A seen
for path in "${files[@]}"; do
  if [ -z "${seen[$path]}" ] && [ -f "$path" ]; then
    seen[$path]=yes
    existing+=("$path")
    [ ! -s "$path.db" ] || [ "$path" -nt "$path.db" ] || printf 'index\t%s\n' "$path"
  fi
done
if [ ${#existing[@]} != 0 ]; then
  printf '%s\0' "${existing[@]}" | xargs -0 stat -c 'file	%a	%U	%G	%Z	%n' -- 2>/dev/null
  printf '%s\0' "${existing[@]}" | xargs -0 sha256sum -- 2>/dev/null |
    while IFS=' ' read -r digest path; do printf 'digest\t%s\t%s\n' "${digest#\\}" "$path"; done
fi
[ ${#directories[@]} = 0 ] || stat -c 'directory	%a	%U	%G	%n' -- "${directories[@]}" 2>/dev/null
if [ ${#accounts[@]} != 0 ]; then
  declare -A names
  declare -A members
  while IFS=: read -r group _ gid users; do
    names[$gid]=$group
    for user in ${users//,/ }; do members[$user]+=" $group"; done
  done </etc/group
  while IFS=: read -r user _ uid gid _; do
    for account in "${accounts[@]}"; do
      [ "$user" != "$account" ] || { printf 'account\t%s\t%s\t%s\t%s\n' "$user" "$uid" "$gid" "${names[$gid]}${members[$user]}"; break; }
    done
  done </etc/passwd
fi
[ ${#entries[@]} = 0 ] || grep -Hcv '^#' -- "${entries[@]}" 2>/dev/null |
  while IFS= read -r line; do printf 'entries\t%s\t%s\n' "${line##*:}" "${line%:*}"; done
stat -f -c 'disk	%n	%a	%S' /etc /var
queued=$(find /var/spool/postfix/{active,deferred,incoming,hold,maildrop} -type f -printf . 2>/dev/null)
printf 'queue\t%s\n' "${#queued}"
read -r load _ </proc/loadavg
read -r processors </sys/devices/system/cpu/online
printf 'load\t%s\t%s\n' "$load" "$processors"
printf 'clock\t%s\n' "$EPOCHREALTIME"
id= active= enabled=
if [ ${#units[@]} != 0 ]; then
  while IFS== read -r key value; do
    case $key in
      Id) id=$value ;;
      ActiveState) active=$value ;;
      UnitFileState) enabled=$value ;;
      '') printf 'unit\t%s\t%s\t%s\n' "$id" "$active" "$enabled"; id= active= enabled= ;;
    esac
  done <&"$services"
  [ -z "$id" ] || printf 'unit\t%s\t%s\t%s\n' "$id" "$active" "$enabled"
fi
[ ${#packages[@]} = 0 ] || while IFS= read -r line; do printf '%s\n' "$line"; done <&"$installed"
printf 'end\n'
