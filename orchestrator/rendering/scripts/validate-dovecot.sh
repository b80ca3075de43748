
# Dovecot
overlay dovecot/dovecot.conf 'mailfleet/tls/*.pem'
renamed "$checked/etc/dovecot/dovecot.conf"
doveconf -c "$checked/etc/dovecot/dovecot.conf" -n >/dev/null
