# What Vault's role `lms-rotation` may do: write one secret and the journal of its rotations.
path "secret/data/lms" { capabilities = ["read", "update"] }
path "secret/data/rotations/lms" { capabilities = ["create", "read", "update"] }
path "secret/metadata/rotations/lms" { capabilities = ["read"] }
# It renews and gives back its own token. With RESENTRY_VAULT_KV_VERSION=auto it asks for the mount,
# which needs no capability of its own.
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
