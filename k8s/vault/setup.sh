#!/bin/sh
# Lets the agent read one secret: makes the mount, a policy, and a role to log in with.
# Run this as an operator, with VAULT_ADDR and VAULT_TOKEN set. It can be run again:
#
#   sh k8s/vault/setup.sh                   Kubernetes auth
#   AUTH=approle sh k8s/vault/setup.sh      AppRole
#
# With OpenBao, set VAULT=bao. The script reads and writes no value of a secret.
set -eu

: "${VAULT:=vault}" "${AUTH:=kubernetes}"
: "${MOUNT:=secret}" "${SECRET:=lms}"     # RESENTRY_VAULT_PATHS=secret/data/lms
: "${ROLE:=lms}"                          # RESENTRY_VAULT_ROLE, and the policy's name
: "${NAMESPACE:=default}" "${SERVICE_ACCOUNT:=resentry}" "${AUDIENCE:=vault}"
# Vault sends the pods' tokens to this Kubernetes API server to check them. A Vault outside the
# cluster needs the server's address and two files: KUBERNETES_CA_FILE, the API server's
# certificate authority, and REVIEWER_JWT_FILE, the token of the account in reviewer.yaml.
: "${KUBERNETES_HOST:=https://kubernetes.default.svc}"
: "${KUBERNETES_CA_FILE:=}" "${REVIEWER_JWT_FILE:=}"

case $AUTH in
kubernetes | approle) ;;
*)
  echo "AUTH is kubernetes or approle, not $AUTH" >&2
  exit 2
  ;;
esac

# Everything that can be wrong here is found before Vault is changed.
for file in "$KUBERNETES_CA_FILE" "$REVIEWER_JWT_FILE"; do
  [ -z "$file" ] || [ -s "$file" ] || {
    echo "$file is missing or empty; see \"Vault outside the cluster\" in docs/kubernetes.md" >&2
    exit 2
  }
done

# has LIST PATH: true if something is enabled at that path.
has() { "$VAULT" "$1" list -format=json | grep -q "\"$2/\":"; }

has secrets "$MOUNT" || "$VAULT" secrets enable -path="$MOUNT" -version=2 kv

# The same as `resentry-agent check --policy` prints. The default policy is not needed.
"$VAULT" policy write "$ROLE" - <<EOF
path "$MOUNT/data/$SECRET" { capabilities = ["read"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
path "sys/capabilities-self" { capabilities = ["update"] }
EOF

has auth "$AUTH" || "$VAULT" auth enable "$AUTH"

# A token lives an hour. The agent renews it for up to a day, and then logs in again.
set -- token_policies="$ROLE" token_no_default_policy=true token_ttl=1h token_max_ttl=24h

if [ "$AUTH" = approle ]; then
  "$VAULT" write "auth/approle/role/$ROLE" secret_id_ttl=720h "$@"
  exit
fi
"$VAULT" write auth/kubernetes/config \
  kubernetes_host="$KUBERNETES_HOST" \
  ${KUBERNETES_CA_FILE:+kubernetes_ca_cert=@"$KUBERNETES_CA_FILE"} \
  ${REVIEWER_JWT_FILE:+token_reviewer_jwt=@"$REVIEWER_JWT_FILE" disable_local_ca_jwt=true}
"$VAULT" write "auth/kubernetes/role/$ROLE" \
  bound_service_account_names="$SERVICE_ACCOUNT" \
  bound_service_account_namespaces="$NAMESPACE" \
  audience="$AUDIENCE" "$@"
