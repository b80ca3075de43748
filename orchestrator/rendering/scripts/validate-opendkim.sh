
# OpenDKIM: opens the tables, and runs the script once. An error in that kills it without a word.
overlay opendkim.conf 'opendkim/*'
renamed "$checked/etc/opendkim.conf"
opendkim -n -x "$checked/etc/opendkim.conf" || refuse "OpenDKIM refuses its files or policy.lua"
