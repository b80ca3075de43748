#!/bin/sh
# Makes a bare Debian one that Vagrant boots and logs in to, as any public box is.
# mmdebstrap calls it at the end of a build. $1: the root of the new system.
set -eu
root=$1

chroot "$root" useradd --create-home --shell /bin/bash vagrant
install -d -m 0700 "$root/home/vagrant/.ssh"
# The key that everybody knows; Vagrant may put another in its place.
cat /usr/share/rubygems-integration/all/gems/vagrant-[0-9]*/keys/vagrant.pub \
    > "$root/home/vagrant/.ssh/authorized_keys"
chroot "$root" chown -R vagrant: /home/vagrant/.ssh
echo "vagrant ALL=(ALL) NOPASSWD: ALL" > "$root/etc/sudoers.d/vagrant"
# Each machine makes its own host keys.
install -d "$root/etc/systemd/system/ssh.service.d"
cat > "$root/etc/systemd/system/ssh.service.d/keys.conf" << END
[Service]
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
END

echo debian > "$root/etc/hostname"
printf '%s\n' "127.0.0.1 localhost" "127.0.1.1 debian" "::1 localhost" > "$root/etc/hosts"
echo "/dev/vda / ext4 errors=remount-ro 0 1" > "$root/etc/fstab"
cat > "$root/etc/network/interfaces" << END
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet dhcp
END

# An emulated processor would take long to unpack every driver that there is.
echo MODULES=list > "$root/etc/initramfs-tools/conf.d/box"
printf '%s\n' virtio_pci virtio_blk ext4 > "$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -u -k all
