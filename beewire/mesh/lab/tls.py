"""Mutual TLS between sidecars, as istiod would push it."""

from beewire.mesh.lab.description import SidecarConfig
from beewire.mesh.lab.messages import Message, named

TRUST_DOMAIN = "spiffe://cluster.local/"
SOCKET = "envoy.transport_sockets.tls"
TYPES = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
ALPN = "istio-http/1.1"  # what a sidecar of Istio offers another


def upstream(config: SidecarConfig, port: int) -> Message:
    """The fields by which a cluster of `port` speaks mutual TLS; none if it does not."""
    if port not in config.mutual_tls:
        return {}
    context = named(
        SOCKET,
        f"{TYPES}.UpstreamTlsContext",
        common_tls_context=_common(config, alpn_protocols=[ALPN]),
        sni=f"outbound_.{port}_._.lab.bw",
    )
    return {"transport_socket": context}


def downstream(config: SidecarConfig) -> Message:
    """The fields by which a filter chain asks its clients for their certificates."""
    context = named(
        SOCKET,
        f"{TYPES}.DownstreamTlsContext",
        common_tls_context=_common(config, alpn_protocols=[ALPN, "http/1.1"]),
        require_client_certificate=True,
    )
    return {"transport_socket": context}


def _common(config: SidecarConfig, **more: object) -> Message:
    identity = config.identity
    if identity is None:
        raise ValueError("mutual TLS needs the identity of its sidecar")
    matcher = {"san_type": "URI", "matcher": {"prefix": TRUST_DOMAIN}}
    return {
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(identity.chain)},
                "private_key": {"filename": str(identity.key)},
            }
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(identity.root)},
            "match_typed_subject_alt_names": [matcher],
        },
        **more,
    }
