# What a gateway's machine does when it has started; the lines before this one say which gateway. It fetches the
# gateway, proves that it is the one that was deployed, and runs it until its dataplane has ended: then the
# machine turns itself off, and is gone.
set -euo pipefail

# Nothing of this machine is worth keeping, or worth its price, if it cannot begin.
trap '[ $? -eq 0 ] || shutdown -h now' EXIT

imds=http://169.254.169.254/latest
session=$(curl -sSf --retry 10 --retry-all-errors -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600' "$imds/api/token")
about() { curl -sSf --retry 10 --retry-all-errors -H "X-aws-ec2-metadata-token: $session" "$imds/$1"; }

role=$(about meta-data/iam/security-credentials/)
credentials=$(about "meta-data/iam/security-credentials/$role")
field() { sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p" <<<"$credentials"; }

install -d -m 0755 /opt/skyhaul
# The credentials stay out of the list of processes.
curl -sSf --retry 10 --retry-all-errors --aws-sigv4 "aws:amz:$SKYHAUL_REGION:s3" -o /opt/skyhaul/gateway -K - "$SKYHAUL_GATEWAY_URL" <<END
user = "$(field AccessKeyId):$(field SecretAccessKey)"
header = "x-amz-security-token: $(field Token)"
END
echo "$SKYHAUL_GATEWAY_SHA256  /opt/skyhaul/gateway" | sha256sum --check --quiet
chmod 0755 /opt/skyhaul/gateway

machine=$SKYHAUL_IDENTITY$(about meta-data/instance-id)
umask 077
printf '%s\n' "${SKYHAUL_BOOT//@MACHINE@/$machine}" >/opt/skyhaul/boot.json

# Long ways with much under way; no rule lets ICMP in, so the path's largest packet is probed for.
modprobe tcp_bbr 2>/dev/null || true
cat >/etc/sysctl.d/90-skyhaul.conf <<'END'
net.core.rmem_max = 268435456
net.core.wmem_max = 268435456
net.ipv4.tcp_rmem = 4096 1048576 268435456
net.ipv4.tcp_wmem = 4096 1048576 268435456
net.core.default_qdisc = fq
net.ipv4.tcp_congestion_control = bbr
net.ipv4.tcp_mtu_probing = 1
net.ipv4.tcp_slow_start_after_idle = 0
net.core.somaxconn = 4096
END
sysctl -q --system || true

cat >/etc/systemd/system/skyhaul-gateway.service <<END
[Unit]
Description=Skyhaul gateway
After=network-online.target
StartLimitIntervalSec=3600
StartLimitBurst=5
SuccessAction=poweroff
StartLimitAction=poweroff

[Service]
ExecStart=/opt/skyhaul/gateway --boot /opt/skyhaul/boot.json
Environment=AWS_REGION=$SKYHAUL_REGION
Restart=on-failure
RestartSec=2
TimeoutStopSec=110
LimitNOFILE=1048576
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl start skyhaul-gateway
