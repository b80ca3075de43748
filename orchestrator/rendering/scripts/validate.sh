# Asks the daemons' own parsers about the staged files in $FILES. Changes nothing that is in
# force; works in a copy that names the staged files instead of the final ones.
export LC_ALL=C
checked=$(mktemp -d "$FILES.XXXXXX")
trap 'rm -rf "$checked"' EXIT
refuse() { echo "$1"; exit 1; }

cp -R "$FILES/etc" "$checked/etc"
sed -i "s#/etc/\(mailfleet\|postfix/[a-z]\|dovecot/[a-z]\|opendkim/\)#$checked/etc/\1#g" \
  "$checked"/etc/postfix/*.cf "$checked/etc/dovecot/dovecot.conf" \
  "$checked/etc/opendkim.conf" "$checked/etc/opendkim/key_table"
# Postfix waits until what it reads is older than a second, lest it be half written.
touch -d '1 minute ago' "$checked"/etc/postfix/*

# TLS: both parse and belong together.
tls=$checked/etc/mailfleet/tls
public=$(openssl x509 -in "$tls/cert.pem" -noout -pubkey) || refuse "the certificate is not one"
[ "$public" = "$(openssl pkey -in "$tls/key.pem" -pubout)" ] ||
  refuse "the private key is not the certificate's"

# Postfix: postconf only warns about what it does not know.
for list in -n -M -P; do
  said=$(postconf -c "$checked/etc/postfix" $list 2>&1 >/dev/null) || refuse "$said"
  [ -z "$said" ] || refuse "$said"
done
for table in submission_headers reject_footer; do
  # Not finding anything is status 1, as is an error: only the latter says something.
  said=$(postmap -c "$checked/etc/postfix" -q x "regexp:$checked/etc/postfix/$table" 2>&1) || :
  [ -z "$said" ] || refuse "$said"
done

# Dovecot
doveconf -c "$checked/etc/dovecot/dovecot.conf" -n >/dev/null

# OpenDKIM: opens the tables, and runs the script once. An error in that kills it without a word.
opendkim -n -x "$checked/etc/opendkim.conf" || refuse "OpenDKIM refuses its files or policy.lua"
