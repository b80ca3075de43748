# Brings one generation of files into force, or leaves everything as it was.
#
# $1 is a directory that holds: generation, manifest (table, public, path), delete (paths),
# digests/DAEMON and digests/sessions, purges (homes), files/PATH with owner and mode as
# they must be, and validate, reload, smoke (shell). With back_to, files and digests are taken
# from what earlier generations replaced.
# Prints "step NAME MILLISECONDS" lines, then "done" and what changed in public files as
# "diff PATH" with a unified diff, or "fail REASON" and what was said.
export LC_ALL=C
# A cut connection must not stop it half way: it ends by itself, one way or the other.
trap '' HUP PIPE
umask 077
set -o pipefail
stage=$1
files=$stage/files
# Not beside the files: of a full disk it has to tell.
log=$(mktemp /run/mailfleet.XXXXXX) || exit 1
state=/var/lib/mailfleet
undo=$state/undo
users=/etc/dovecot/users
credentials=/etc/dovecot/credentials
# The logins that live sessions go by, with their hashes; and which connections of submission, by the
# client's port, which logins can't use any more (read by OpenDKIM's policy.lua).
logins=$state/logins
cut=/run/mailfleet/cut
# On the file system of the mail, so that mail gets there by a rename.
trash=/var/vmail/.mailfleet-trash
kept=20
new=.mailfleet-new
old=.mailfleet-old
read -r generation <"$stage/generation"
saved=$undo/$generation.new

finish() { rm -rf "$stage" "$saved" "$log"; exit "$1"; }

fail() {
  reason=$1
  if grep -q 'No space left on device' "$log"; then reason=DiskFull; fi
  if grep -q 'Read-only file system' "$log"; then reason=ReadOnlyFileSystem; fi
  [ ! -e "$stage/placed" ] || restore
  printf 'fail\t%s\n' "$reason"
  tail -c 4000 "$log"
  finish 1
}

step() {
  local started=${EPOCHREALTIME/./}
  "$1" >>"$log" 2>&1 || fail "$2"
  printf 'step\t%s\t%s\n' "$1" "$(((${EPOCHREALTIME/./} - started) / 1000))"
}

in_force() {
  at=0
  [ ! -e $state/generation ] || read -r at <$state/generation
}

# What every generation after the wanted one replaced, the oldest last, so that it prevails.
gather() {
  [ -e "$stage/back_to" ] || return 0
  local target table public path
  local -A line=()
  read -r target <"$stage/back_to"
  in_force
  while [ "$at" -gt "$target" ]; do
    [ -e "$undo/$at/before" ] || { echo "what generation $at replaced is not kept"; return 1; }
    cp -a "$undo/$at/files/." "$files/" || return 1
    while IFS=$'\t' read -r table public path; do line[$path]="$table	$public"; done <"$undo/$at/manifest"
    while IFS= read -r path; do line[$path]=; rm -f "$files$path"; done <"$undo/$at/created"
    rm -rf "$stage/digests" && cp -a "$undo/$at/applied" "$stage/digests" || return 1
    read -r at <"$undo/$at/before"
  done
  [ "$at" = "$target" ] || { echo "generation $target was not in force here"; return 1; }
  for path in "${!line[@]}"; do
    if [ -n "${line[$path]}" ]; then
      printf '%s\t%s\n' "${line[$path]}" "$path" >>"$stage/manifest"
    else
      printf '%s\n' "$path" >>"$stage/delete"
    fi
  done
}

prepare() {
  find $state -maxdepth 1 -name 'stage.*' -mmin +60 -exec rm -rf {} +
  local table path config=/etc/postfix tables=()
  while IFS=$'\t' read -r table _ path; do
    [ "$table" = 0 ] || tables+=("hash:$files$path")
  done <"$stage/manifest"
  [ ! -e "$files/etc/postfix/main.cf" ] || config=$files/etc/postfix
  [ ${#tables[@]} = 0 ] || postmap -c "$config" "${tables[@]}"
}

validate() { FILES=$files sh -eu "$stage/validate"; }

# Everything that can run out of space happens beside the files in force.
copy() {
  local table public path
  rm -rf "$undo"/*.new && mkdir -p "$saved/files" "$saved/applied" $state/applied || return 1
  : >"$saved/manifest" && : >"$saved/created" && : >"$stage/replaced" && : >"$stage/new" || return 1
  while IFS=$'\t' read -r table public path; do
    if [ -e "$path" ]; then
      printf '%s\t%s\t%s\n' "$table" "$public" "$path" >>"$saved/manifest"
      printf '%s\n' ".$path" >>"$stage/replaced"
    else
      printf '%s\n' "$path" >>"$saved/created"
      [ -d "${path%/*}" ] || mkdir -p -m 0755 "${path%/*}" || return 1
    fi
    printf '%s\n' "$path" >>"$stage/new"
    [ "$table" = 0 ] || printf '%s.db\n' "$path" >>"$stage/new"
  done <"$stage/manifest"
  while IFS= read -r path; do
    [ -e "$path" ] || continue
    [ -e "$path.db" ] && table=1 || table=0
    printf '%s\t0\t%s\n' "$table" "$path" >>"$saved/manifest"
    printf '%s\n' ".$path" >>"$stage/replaced"
    printf '%s\n' "$path" "$path.db" >>"$stage/gone"
  done <"$stage/delete"
  in_force
  printf '%s\n' "$at" >"$saved/before"
  cp -a $state/applied/. "$saved/applied/" || return 1
  tar -C / -cf - -T "$stage/replaced" | tar -C "$saved/files" -xpf - || return 1
  mv "$stage/new" "$stage/placed" || return 1
  sed "s,.*,&$new\n&$old," "$stage/placed" | xargs -r -d '\n' rm -f
  sed 's,^,.,' "$stage/placed" | tar -C "$files" -cf - -T - |
    tar -C / -xpf - --transform "flags=r;s,\$,$new," || return 1
  sync -f /etc
}

# Renames only: whatever stands under a final name is whole, old or new.
# Dovecot looks at whole seconds: a file changed twice in one would look unchanged.
swap() {
  local digest applied
  # From here on nobody knows what they run, until a reload has succeeded.
  for digest in "$stage"/digests/*; do
    applied=$state/applied/${digest##*/}
    [ ! -e "$applied" ] || : >"$applied" || return 1
  done
  perl -e '
    my ($new, $old) = splice @ARGV, 0, 2;
    my $rename = sub { rename $_[0], $_[1] or die "$_[1]: $!\n" };
    while (<STDIN>) {
      chomp;
      my @was = stat $_;
      my @is = stat "$_$new" or die "$_: $!\n";
      my $time = $is[9];
      $time = $was[9] + 1 if @was && $time <= $was[9];
      if (/^(.*)[.]db$/) { my @source = stat $1; $time = $source[9] if $time < $source[9] }
      utime $time, $time, "$_$new" or die "$_: $!\n";
      !@was or link $_, "$_$old" or die "$_: $!\n";
      $rename->("$_$new", $_);
    }
    for (@ARGV) { $rename->($_, "$_$old") if -e }
  ' $new $old $(cat "$stage/gone" 2>/dev/null) <"$stage/placed"
}

restore() {
  {
    perl -e '
      my ($new, $old) = splice @ARGV, 0, 2;
      while (<STDIN>) {
        chomp;
        if (-e "$_$new") { unlink "$_$new", "$_$old" }
        elsif (-e "$_$old") { rename "$_$old", $_ }
        else { unlink $_ }
      }
      for (@ARGV) { rename "$_$old", $_ if -e "$_$old" }
    ' $new $old $(cat "$stage/gone" 2>/dev/null) <"$stage/placed"
    sh -u "$stage/reload" && cp -a "$saved/applied/." $state/applied/
  } >>"$log" 2>&1
}

reload() { sh -eu "$stage/reload"; }

smoke() { sh -eu "$stage/smoke"; }

# Every login as Postfix knows it: those of credentials have a "~" before them.
accounts() {
  cat $users
  [ ! -e $credentials ] || sed -n 's/^[^#]/~&/p' $credentials
}

# Whoever's password is another, or who has none any more, is cut off. What does not end now
# is seen by the next probe: that daemons run what they must is no less true.
sessions() {
  [ -e "$stage/digests/sessions" ] && [ -e "$logins" ] || return 0
  awk -F: 'NR == FNR { is[$1] = $2; next } !/^#/ && is[$1] != $2 { print $1 }' \
    <(accounts) $logins >"$stage/revoked" || return 1
  [ -s "$stage/revoked" ] || return 0
  disconnect
  # Of a credential's login policy.lua asks at each message; a login that comes too late sends nothing.
  grep -qv '^~' "$stage/revoked" || return 0
  # Dovecot looks at the file once a second at most: until then old passwords let clients in.
  local changed wait try
  changed=$(stat -c %Z $users) || return 1
  wait=$(((changed + 1) * 1000000 + 10000 - ${EPOCHREALTIME/./}))
  [ "$wait" -le 0 ] || [ "$wait" -gt 1100000 ] || sleep "$((wait / 1000000)).$(printf %06d $((wait % 1000000)))"
  for try in {1..20}; do
    disconnect && return 0
    sleep 0.1
  done
  rm "$stage/digests/sessions"
}

# Succeeds when nobody was there. Postfix ends no session: its messages are refused instead.
disconnect() {
  local email found=0
  for email in $(doveadm who | awk 'NR == FNR { revoked[$1]; next } $1 in revoked { print $1 }' \
    "$stage/revoked" -); do
    found=1
    doveadm kick "$email"
  done
  awk '$4 == "01" && $2 ~ /:(024B|01D1)$/ { sub(/.*:/, "", $3); print $3 }' \
    /proc/net/tcp /proc/net/tcp6 | sort -u >"$stage/ports"
  mkdir -p -m 0755 ${cut%/*} && [ -e $cut ] || : >$cut
  awk 'FILENAME == ARGV[1] { open[$1]; ports = ports " " $1; next }
    FILENAME == ARGV[2] { print $1 ports; next }
    { line = $1; for (i = 2; i <= NF; i++) if ($i in open) line = line " " $i; print line }' \
    "$stage/ports" "$stage/revoked" $cut | awk 'NF > 1' | sort -u >$cut.new
  chmod 0644 $cut.new && mv -f $cut.new $cut
  [ $found = 0 ]
}

commit() {
  local digest
  for digest in "$stage"/digests/*; do
    [ ! -e "$digest" ] || cp "$digest" $state/applied/ || return 1
  done
  rm -rf "${undo:?}/$generation" && mv "$saved" "$undo/$generation" || return 1
  cp "$stage/generation" $state/generation.new && mv -f $state/generation.new $state/generation || return 1
  cat "$stage/placed" "$stage/gone" 2>/dev/null | sed "s,\$,$old," | xargs -r -d '\n' rm -f
  ls $undo | sort -rn | tail -n +$((kept + 1)) | sed "s,^,$undo/," | xargs -r -d '\n' rm -rf
  # Last: with an older one somebody is cut off once more, with a newer one not at all.
  [ ! -e "$stage/digests/sessions" ] || { accounts >$logins.new && mv -f $logins.new $logins; }
}

# All is in force: nothing in here may have it put back. Mail that stays is seen by the next probe.
purge() {
  local home number=0
  if [ -s "$stage/purges" ]; then
    mkdir -p -m 0700 $trash
    awk -F: 'FILENAME != ARGV[3] { here[$6]; next } !($1 in here)' \
      $users /etc/dovecot/system-users "$stage/purges" |
      while IFS= read -r home; do
        number=$((number + 1))
        [ ! -e "$home" ] && [ ! -L "$home" ] || mv -T "$home" "$trash/$generation.$number"
      done
  fi
  # Whatever an earlier push left, too. Nobody waits for it.
  [ -d $trash ] || return 0
  setsid nice rm -rf $trash </dev/null 9>&- &
}

differences() {
  local public path was
  while IFS=$'\t' read -r _ public path; do
    [ "$public" = 1 ] || continue
    was=$undo/$generation/files$path
    [ -e "$was" ] || was=/dev/null
    printf 'diff\t%s\n' "$path"
    diff -u --label "$path (before)" --label "$path (after)" "$was" "$path" | head -c 16384
    echo
  done <"$stage/manifest"
}

exec 9>/run/mailfleet.lock
flock -w 10 9 || fail Busy
in_force
[ "$generation" -gt "$at" ] || fail Fenced
step gather ApplyFailed
step prepare ApplyFailed
step validate ValidationFailed
step copy ApplyFailed
step swap ApplyFailed
step reload SmokeTestFailed
step smoke SmokeTestFailed
step sessions ApplyFailed
step commit ApplyFailed
step purge ApplyFailed
printf 'done\n'
differences
finish 0
