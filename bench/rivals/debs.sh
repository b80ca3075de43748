#!/bin/sh
# debs.sh DIRECTORY: fetches what Ansible needs on a host, which is Python, for both Debians.
# The lab's hosts have no network and, like any bare Debian, no Python.
set -eu
for suite in bookworm trixie; do
  mkdir -p "$1"
  rm -rf "${1:?}/$suite"
  mmdebstrap --quiet --variant=minbase --components=main --format=null --skip=cleanup/apt \
    --aptopt='Acquire::Languages "none"' \
    --customize-hook='chroot "$1" apt-get --yes --download-only --no-install-recommends install python3 python3-apt' \
    --customize-hook="copy-out /var/cache/apt/archives $1" \
    "$suite" /dev/null
  mv "$1/archives" "$1/$suite"
done
