//! What peers prove to each other: an authority that each agent derives from the cluster secret by itself.
//!
//! Nothing is exchanged and nothing is stored: whoever knows the secret can make the authority, and with it a leaf
//! for its own NodeID. That a NodeID is told truly is not proved here; Swarm's directory decides that.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hkdf;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};
use x509_parser::extensions::GeneralName;

use super::{ALPN, TrustError, provider};
use crate::model::NodeId;

/// Constant, because every node must derive the same bytes and a worker knows nothing else in common.
const SALT: &[u8] = b"swarmgate-peer-ca-v1";

/// What follows the NodeID in a leaf's name.
const ZONE: &str = "peer.swarmgate.internal";

/// 2030-01-01: inside the fixed validity of every peer certificate. Clocks do not matter between peers.
const NOW: UnixTime = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_893_456_000));

/// The certificate authority of a cluster, derived from its secret.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    record_key: [u8; 32],
}

impl Authority {
    /// Derives the authority: the same material gives the same bytes on every node. Costs 19 MiB and some 30 ms.
    pub fn derive(material: &[u8]) -> Result<Self, TrustError> {
        let stretched = stretch(material)?;
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(&stretched);
        let seed = expand(&root, b"swarmgate peer ca ed25519 seed")?;
        let record_key = expand(&root, b"swarmgate association record hmac")?;
        let issuer = CertifiedIssuer::self_signed(authority_params(), ed25519(&seed)?)?;
        Ok(Self { issuer, record_key })
    }

    /// The key under which association records are authenticated; apart from the one that signs certificates.
    pub fn record_key(&self) -> [u8; 32] {
        self.record_key
    }

    /// The authority's own certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        self.issuer.der()
    }
}

/// Both ends of the peer connections of one agent.
#[derive(Clone)]
pub struct PeerTls {
    pub server: Arc<ServerConfig>,
    pub client: Arc<ClientConfig>,
}

/// Makes a fresh leaf for `here`, in memory only. The first authority signs it, all are trusted, so that a secret
/// is rotated by adding, swapping and dropping.
pub fn peer_tls(authorities: &[Authority], here: &NodeId) -> Result<PeerTls, TrustError> {
    let shown = authorities.first().ok_or(TrustError::Stretch)?;
    let key = KeyPair::generate()?;
    let leaf = leaf_params(here)?.signed_by(&key, &shown.issuer)?;
    let chain = vec![leaf.der().clone()];
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.certificate().clone())?;
    }
    let roots = Arc::new(roots);
    Ok(PeerTls {
        server: Arc::new(server(&roots, chain.clone(), key.clone_key().into())?),
        client: Arc::new(client(roots, chain, key.into())?),
    })
}

/// The NodeID that the first certificate names, if it is a peer's.
pub fn node_of(certificates: &[CertificateDer<'_>]) -> Option<NodeId> {
    let (_, leaf) = x509_parser::parse_x509_certificate(certificates.first()?).ok()?;
    let names = leaf.subject_alternative_name().ok()??;
    let [GeneralName::DNSName(name)] = names.value.general_names.as_slice() else { return None };
    let label = name.strip_suffix(ZONE)?.strip_suffix('.')?;
    if is_label(label) { NodeId::parse(label).ok() } else { None }
}

/// What to expect of a peer whose NodeID is known.
pub fn server_name(node: &NodeId) -> Result<ServerName<'static>, TrustError> {
    name_of(node).and_then(|name| ServerName::try_from(name).map_err(|_| TrustError::Name(node.to_string())))
}

/// What to expect of a peer of which only the address is known: any node, as long as the authority is ours.
/// [`node_of`] tells afterwards which.
#[expect(clippy::expect_used, reason = "the constant is a DNS name")]
pub fn any_node() -> ServerName<'static> {
    ServerName::try_from(ZONE).expect("a DNS name")
}

fn stretch(material: &[u8]) -> Result<[u8; 32], TrustError> {
    use argon2::{Algorithm, Argon2, Params, Version};
    // OWASP's smallest recommendation for Argon2id: a secret has at least 32 characters, and a small agent must
    // not need more memory at its start than ever again.
    let params = Params::new(19 << 10, 2, 1, Some(32)).map_err(|_| TrustError::Stretch)?;
    let mut stretched = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(material, SALT, &mut stretched)
        .map_err(|_| TrustError::Stretch)?;
    Ok(stretched)
}

fn expand(root: &hkdf::Prk, label: &[u8]) -> Result<[u8; 32], TrustError> {
    let mut key = [0; 32];
    root.expand(&[label], hkdf::HKDF_SHA256)
        .and_then(|out| out.fill(&mut key))
        .map_err(|_| TrustError::Stretch)?;
    Ok(key)
}

/// Ed25519, because its signatures are deterministic: so is the certificate.
fn ed25519(seed: &[u8; 32]) -> Result<KeyPair, TrustError> {
    // PKCS#8 version 1 around a 32-byte seed (RFC 8410).
    let mut der = hex::decode("302e020100300506032b657004220420").map_err(|_| TrustError::Stretch)?;
    der.extend_from_slice(seed);
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&der.into(), &rcgen::PKCS_ED25519)?)
}

fn authority_params() -> CertificateParams {
    let mut params = fixed("swarmgate peers");
    params.serial_number = Some(SerialNumber::from(1u64));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn leaf_params(node: &NodeId) -> Result<CertificateParams, TrustError> {
    let mut params = fixed("swarmgate peer");
    let name = name_of(node)?;
    params.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// One long validity for all: trust comes from the secret, and it is checked at a constant time.
fn fixed(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn name_of(node: &NodeId) -> Result<String, TrustError> {
    if is_label(node.as_str()) {
        Ok(format!("{node}.{ZONE}"))
    } else {
        Err(TrustError::Name(node.to_string()))
    }
}

/// Lower case only: names are compared without case, NodeIDs with it.
fn is_label(text: &str) -> bool {
    let fits = (1..=63).contains(&text.len());
    let safe = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    fits && safe && !text.starts_with('-') && !text.ends_with('-')
}

fn server(
    roots: &Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, TrustError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider())
        // A stranger needs no hint about what would be accepted.
        .clear_root_hint_subjects()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(Constant))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // No resumption: each connection proves the secret anew, and early data could be replayed.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

fn client(
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, TrustError> {
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(Constant))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Expected { inner }))
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_early_data = false;
    // The address alone says where to dial; whoever answers there need not learn whom we hoped to meet.
    config.enable_sni = false;
    Ok(config)
}

/// The one moment at which all peer certificates are verified.
#[derive(Debug)]
struct Constant;

impl TimeProvider for Constant {
    fn current_time(&self) -> Option<UnixTime> {
        Some(NOW)
    }
}

/// The ordinary verifier, which when [`any_node`] is expected expects the node that the certificate names.
#[derive(Debug)]
struct Expected {
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Expected {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        expected: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let any = *expected == any_node();
        let named = any.then(|| {
            let node = node_of(std::slice::from_ref(leaf))?;
            server_name(&node).ok()
        });
        match named {
            None => self.inner.verify_server_cert(leaf, between, expected, ocsp, now),
            Some(Some(name)) => self.inner.verify_server_cert(leaf, between, &name, ocsp, now),
            Some(None) => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn node(text: &str) -> NodeId {
        NodeId::parse(text).unwrap()
    }

    #[test]
    fn the_authority_of_a_secret_is_known_to_the_byte() {
        let authority = Authority::derive(SECRET).unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, authority.certificate());
        assert_eq!(
            hex::encode(digest.as_ref()),
            "9e0c363e1d85d6525d3311c047b7552ec439a6bd7bcb73594687966b206058b6"
        );
        assert_eq!(
            hex::encode(authority.record_key()),
            "a93388a2fe6140a664301b5ef2189d4dc95bc622aba44414381eaa2fcd55ec1a"
        );
        let other = Authority::derive(b"0123456789abcdef0123456789abcdeF").unwrap();
        assert_ne!(other.certificate(), authority.certificate());
        assert_ne!(other.record_key(), authority.record_key());
    }

    #[test]
    fn a_leaf_names_its_node_and_a_public_certificate_names_none() {
        let authority = Authority::derive(SECRET).unwrap();
        let key = KeyPair::generate().unwrap();
        let issued = |params: CertificateParams| {
            let leaf = params.signed_by(&key, &authority.issuer).unwrap();
            node_of(&[leaf.der().clone()])
        };
        let named = |names: &[&str]| {
            let mut params = fixed("swarmgate peer");
            let dns = |name: &&str| SanType::DnsName((*name).try_into().unwrap());
            params.subject_alt_names = names.iter().map(dns).collect();
            issued(params)
        };
        let node_1 = node("e4mr5ts1tvqm4r33lr4q4qnq1");
        assert_eq!(issued(leaf_params(&node_1).unwrap()), Some(node_1));
        assert_eq!(named(&[]), None);
        assert_eq!(named(&["localhost"]), None);
        assert_eq!(named(&["peer.swarmgate.internal"]), None);
        assert_eq!(named(&[".peer.swarmgate.internal"]), None);
        assert_eq!(named(&["a.b.peer.swarmgate.internal"]), None);
        assert_eq!(named(&["xpeer.swarmgate.internal"]), None);
        assert_eq!(named(&["A.peer.swarmgate.internal"]), None);
        assert_eq!(named(&["*.peer.swarmgate.internal"]), None);
        assert_eq!(named(&["a.peer.swarmgate.internal", "b.peer.swarmgate.internal"]), None);
        assert_eq!(node_of(&[]), None);
        assert_eq!(node_of(&[CertificateDer::from(vec![0x30, 0x00])]), None);
    }

    #[test]
    fn an_id_that_is_no_dns_label_gets_no_certificate() {
        let authorities = [Authority::derive(SECRET).unwrap()];
        let long = "a".repeat(64);
        for id in ["10.0.0.1:9002", "Node", "-a", "a-", "a_b", &long] {
            assert!(matches!(peer_tls(&authorities, &node(id)), Err(TrustError::Name(_))), "{id}");
            assert!(server_name(&node(id)).is_err(), "{id}");
        }
        assert!(peer_tls(&authorities, &node(&"a".repeat(63))).is_ok());
        assert!(peer_tls(&[], &node("a")).is_err());
    }
}
