vault { address = "https://vault.example.com:8200" }

auto_auth {
  method "kubernetes" {
    config = {
      role       = "lms"
      token_path = "/var/run/secrets/vault/token"
    }
  }
}

api_proxy { use_auto_auth_token = true }

# Only the agent's container shares this folder.
listener "unix" {
  address     = "/var/run/vault-proxy/socket"
  tls_disable = true
}
