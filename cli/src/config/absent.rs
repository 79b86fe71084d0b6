//! Keys that Skyplane's users know and that this version does not have.

/// Name of the key, and why it is not here.
pub(crate) const ABSENT: &[(&str, &str)] = &[
    ("compress", "compression applies to gateways: `--compress`"),
    (
        "encrypt_e2e",
        "encryption between gateways: `--cipher`, `--no-encrypt`",
    ),
    (
        "encrypt_socket_tls",
        "TLS between gateways: `--socket-tls`; to a store its endpoint says",
    ),
    (
        "bbr",
        "congestion control of gateways; this machine's own setting applies",
    ),
    ("num_connections", "use `transfers`"),
    ("multipart_max_chunks", "the store's own limit applies"),
    (
        "multipart_max_chunk_size_mb",
        "use `multipart_chunk_size_mb`",
    ),
    (
        "max_instances",
        "how many gateways a transfer has is said with it: `--max-instances N`",
    ),
    (
        "azure_use_spot_instances",
        "this version starts no machines in Azure",
    ),
    (
        "gcp_use_spot_instances",
        "this version starts no machines in Google Cloud",
    ),
    (
        "azure_instance_class",
        "this version starts no machines in Azure",
    ),
    (
        "gcp_instance_class",
        "this version starts no machines in Google Cloud",
    ),
    (
        "gcp_use_premium_network",
        "this version starts no machines in Google Cloud",
    ),
    (
        "gcp_service_account_name",
        "Google Cloud Storage is not supported yet",
    ),
    (
        "aws_default_region",
        "name the region in `[endpoints.NAME]` or in the AWS configuration",
    ),
    (
        "gcp_default_region",
        "Google Cloud Storage is not supported yet",
    ),
    ("native_cmd_enabled", "no other command is ever called"),
    ("native_cmd_threshold_gb", "no other command is ever called"),
    ("usage_stats", "no usage is ever collected"),
];

/// Why this key is not here, if it is one of Skyplane's.
pub(crate) fn reason(name: &str) -> Option<&'static str> {
    ABSENT
        .iter()
        .find(|(key, _)| *key == name)
        .map(|(_, reason)| *reason)
}
