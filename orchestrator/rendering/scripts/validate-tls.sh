
# TLS: certificate and key parse and belong together.
overlay 'mailfleet/tls/*.pem'
tls=$checked/etc/mailfleet/tls
public=$(openssl x509 -in "$tls/cert.pem" -noout -pubkey) || refuse "the certificate is not one"
[ "$public" = "$(openssl pkey -in "$tls/key.pem" -pubout)" ] ||
  refuse "the private key is not the certificate's"
