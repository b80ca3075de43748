# Talks to every service of this host as a client would. Sends no mail, changes nothing.
exec bash -u <<'END'
export LC_ALL=C
trap '' PIPE

# Reads what the server says until a line matches; a refusal or silence fails.
await() {
  while IFS= read -r -t 5 -u "$IN" said; do
    said=${said%$'\r'}
    [[ $said =~ $1 ]] && return 0
    [[ $said =~ ^[45][0-9][0-9]\  ]] && return 1
  done
  return 1
}

say() { printf '%s\n' "$1" >&"$OUT"; }

# MAIL FROM is answered once OpenDKIM has been asked.
mx() { say 'EHLO localhost' && await '^250 ' && say 'MAIL FROM:<>' && await '^250 ' && say QUIT; }
submission() { say 'EHLO localhost' && await '^250[- ]AUTH .*PLAIN' && await '^250 ' && say QUIT; }
submissions() { await '^220 ' && submission; }
imaps() { await '^\* OK' && say 'a LOGOUT' && await '^a OK'; }

# The daemons may take a moment to listen again.
session() {
  local dialogue=$1 attempt
  shift
  for attempt in {1..15}; do
    said=
    coproc SERVER { exec timeout 20 openssl s_client -quiet -crlf "$@" 2>/dev/null; }
    exec {IN}<&"${SERVER[0]}" {OUT}>&"${SERVER[1]}"
    local client=$SERVER_PID
    "$dialogue" && result=0 || result=1
    exec {IN}<&- {OUT}>&-
    kill "$client" 2>/dev/null
    wait "$client" 2>/dev/null
    [ "$result" = 0 ] && return 0
    sleep 0.2
  done
  echo "$dialogue does not answer as it must: ${said:-silence}"
  return 1
}

pids=()
session mx -starttls smtp -connect 127.0.0.1:25 & pids+=($!)
session submission -starttls smtp -connect 127.0.0.1:587 & pids+=($!)
session submissions -connect 127.0.0.1:465 & pids+=($!)
session imaps -connect 127.0.0.1:993 & pids+=($!)
status=0
for pid in "${pids[@]}"; do wait "$pid" || status=1; done
exit "$status"
END
