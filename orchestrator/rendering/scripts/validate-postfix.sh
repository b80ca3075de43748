
# Postfix: postconf only warns about what it does not know.
overlay 'postfix/*.cf' postfix/submission_headers postfix/reject_footer
renamed "$checked"/etc/postfix/*.cf
# It waits until what it reads is older than a second, lest it be half written.
touch -d '1 minute ago' "$checked"/etc/postfix/*
for list in -n -M -P; do
  said=$(postconf -c "$checked/etc/postfix" $list 2>&1 >/dev/null) || refuse "$said"
  [ -z "$said" ] || refuse "$said"
done
for table in submission_headers reject_footer; do
  # Not finding anything is status 1, as is an error: only the latter says something.
  said=$(postmap -c "$checked/etc/postfix" -q x "regexp:$checked/etc/postfix/$table" 2>&1) || :
  [ -z "$said" ] || refuse "$said"
done
