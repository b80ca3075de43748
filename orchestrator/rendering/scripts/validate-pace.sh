
# The daemon that keeps the rate
[ ! -e "$FILES/usr/local/lib/mailfleet/pace" ] || bash -n "$FILES/usr/local/lib/mailfleet/pace"
