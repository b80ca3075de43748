# One mailbox's mail on this host, without asking any user database: served here or not.
# $1: what to do; $2: its address; $3: its home; $4: an option for doveadm, or nothing.
# A store that is served here is never overwritten or removed (77).
set -eu
action=$1 email=$2 home=$3 option=${4:-}
cd /
lock=/run/mailfleet/$email.lock

unserved() {
  awk -F: -v home="$home" '$6 == home && !/userdb_tempfail=yes/ { served = 1 } END { exit served }' \
    /etc/dovecot/users || { echo "$email is served here" >&2; exit 77; }
}
# Whoever wrote before, and was thought dead, stops writing before the next one begins.
alone() {
  mkdir -p /run/mailfleet
  exec 9>>"$lock"
  flock -n 9 || { kill "$(cat "$lock")" 2>/dev/null || true; flock -w 10 9; }
  echo $$ >"$lock"
}
read_mail() {
  USER=$email HOME=$home doveadm -f tab -o "mail_home=$home" "$@"
}

case $action in
send) # $5: one of doveadm's words, backup or sync; the other side speaks on stdin and stdout
  exec 3<&0 4>&1
  case $5 in backup) way= ;; sync) way=-1 ;; esac
  exec env USER="$email" HOME="$home" doveadm -o "mail_home=$home" "$5" $option $way \
    sh -c 'cat <&3 & exec cat >&4' </dev/null >&2
  ;;
receive)
  if [ "$5" = backup ]; then unserved; fi
  alone
  exec env USER="$email" HOME="$home" doveadm -o "mail_home=$home" dsync-server $option
  ;;
list) # a digest of all folders and messages, the same wherever the same is held; and how many
  {
    read_mail mailbox status $option 'uidvalidity uidnext' '*'
    read_mail fetch $option 'mailbox uid guid flags' ALL | perl -lne '
      @f = split /\t/; $f[3] = join " ", sort grep { $_ ne "\\Recent" } split / /, $f[3] // "";
      print join "\t", @f'
  } | LC_ALL=C sort | sha256sum | cut -d " " -f 1
  read_mail fetch $option uid ALL | tail -n +2 | wc -l
  ;;
remove)
  unserved
  alone
  rm -rf -- "$home"
  rm -f -- "$lock"
  ;;
evict) # ends every session; 75 when one stays
  for try in 1 2 3 4 5 6 7 8 9 10; do
    doveadm kick "$email" >/dev/null 2>&1 || true
    [ "$(doveadm who -1 "$email" 2>/dev/null | tail -n +2 | wc -l)" -gt 0 ] || exit 0
    sleep 0.3
  done
  exit 75
  ;;
esac
