#!/bin/sh
# Makes a public Debian a machine of the fleet: its packages while it still reaches Debian's
# mirrors, then its files; after the next boot it knows the fleet's network only.
# $1: packages to install; $2: packages to keep in apt's cache for the reconciler.
set -eu

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # lists of words
apt-get install -y -qq --no-install-recommends $1
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends --download-only $2

# The fleet's resolver stays, whatever DHCP says.
rm -f /etc/resolv.conf
tar -C / --no-overwrite-dir -xf /tmp/lab.tar
rm /tmp/lab.tar
chattr +i /etc/resolv.conf
