# Brings one generation of files into force, or leaves everything as it was.
#
# $1 is a directory that holds: generation, manifest (mode owner group table path), delete
# (paths), digests/DAEMON, files/PATH, and validate, reload, smoke (shell).
# Prints "step NAME SECONDS" lines and, last, "done" or "fail REASON" with what was said.
export LC_ALL=C
# A cut connection must not stop it half way: it ends by itself, one way or the other.
trap '' HUP PIPE
umask 077
stage=$1
files=$stage/files
state=/var/lib/mailfleet
saved=$state/previous
suffix=.mailfleet-new
log=$stage/log
placed=
tab=$(printf '\t')

finish() { rm -rf "$stage"; exit "$1"; }

fail() {
  reason=$1
  if grep -q 'No space left on device' "$log"; then reason=DiskFull; fi
  if grep -q 'Read-only file system' "$log"; then reason=ReadOnlyFileSystem; fi
  while IFS=$tab read -r _ _ _ _ path; do rm -f "$path$suffix" "$path.db$suffix"; done <"$stage/manifest"
  [ -z "$placed" ] || restore
  printf 'fail\t%s\n' "$reason"
  tail -c 4000 "$log"
  finish 1
}

step() {
  name=$1 reason=$2 started=$(date +%s%N)
  "$name" >>"$log" 2>&1 || fail "$reason"
  printf 'step\t%s\t%s\n' "$name" "$(( ($(date +%s%N) - started) / 1000000 ))"
}

outdated() {
  [ "$(cat "$stage/generation")" -gt "$(cat $state/generation 2>/dev/null || echo 0)" ]
}

prepare() {
  while IFS=$tab read -r mode owner group table path; do
    chown "$owner:$group" "$files$path" && chmod "$mode" "$files$path" || return 1
    if [ "$table" = 1 ]; then
      postmap -c "$files/etc/postfix" "hash:$files$path" && chmod 0644 "$files$path.db" || return 1
    fi
  done <"$stage/manifest"
}

validate() { FILES=$files sh -eu "$stage/validate"; }

# Everything that can run out of space happens beside the files in force.
copy() {
  rm -rf $saved && mkdir -p $saved || return 1
  while IFS=$tab read -r _ _ _ table path; do
    mkdir -p -m 0755 "${path%/*}" && cp -p "$files$path" "$path$suffix" || return 1
    [ "$table" = 0 ] || cp -p "$files$path.db" "$path.db$suffix" || return 1
    keep "$path" && newer "$path" || return 1
    [ "$table" = 0 ] || keep "$path.db" || return 1
  done <"$stage/manifest"
  while read -r path; do keep "$path" || return 1; done <"$stage/delete"
  sync -f /etc
}

keep() {
  [ -e "$1" ] || return 0
  mkdir -p "$saved${1%/*}" && cp -a "$1" "$saved$1"
}

# Dovecot looks at whole seconds: a file changed twice in one would look unchanged.
newer() {
  [ -e "$1" ] || return 0
  old=$(stat -c %Y "$1")
  [ "$(stat -c %Y "$1$suffix")" -gt "$old" ] || touch -d "@$((old + 1))" "$1$suffix"
}

swap() {
  placed=yes
  while IFS=$tab read -r _ _ _ table path; do
    mv -fT "$path$suffix" "$path" || return 1
    [ "$table" = 0 ] || { touch "$path.db$suffix" && mv -fT "$path.db$suffix" "$path.db"; } || return 1
  done <"$stage/manifest"
  while read -r path; do rm -f "$path" "$path.db" || return 1; done <"$stage/delete"
}

restore() {
  {
    while IFS=$tab read -r _ _ _ _ path; do
      bring_back "$path"
      bring_back "$path.db"
    done <"$stage/manifest"
    while read -r path; do bring_back "$path"; done <"$stage/delete"
    sh -u "$stage/reload"
  } >>"$log" 2>&1
}

# File by file: the directories that they stand in are not ours to change.
bring_back() {
  if [ -e "$saved$1" ]; then
    cp -a "$saved$1" "$1$suffix" && mv -fT "$1$suffix" "$1"
  else
    rm -f "$1"
  fi
}

reload() { sh -eu "$stage/reload"; }

smoke() { sh -eu "$stage/smoke"; }

commit() {
  mkdir -p $state/applied || return 1
  for digest in "$stage"/digests/*; do
    [ -e "$digest" ] || continue
    cp "$digest" $state/applied/ || return 1
  done
  cp "$stage/generation" $state/generation.new && mv -f $state/generation.new $state/generation
}

: >"$log"
exec 9>/run/mailfleet.lock
flock -w 10 9 || fail Busy
outdated || fail Fenced
step prepare ApplyFailed
step validate ValidationFailed
step copy ApplyFailed
step swap ApplyFailed
step reload SmokeTestFailed
step smoke SmokeTestFailed
step commit ApplyFailed
printf 'done\n'
finish 0
