//! How a node's name is written in a peer certificate.

use rustls::pki_types::{CertificateDer, DnsName, ServerName};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::model::NodeId;

const SUFFIX: &str = ".peer.swarmgate.internal";

/// Asked for where the node is not known before the handshake. Any node of the cluster may answer.
const ANY: &str = "peer.swarmgate.internal";

/// The name to ask for: that of the expected node, or of any.
pub(super) fn server_name(expect: Option<&NodeId>) -> Option<ServerName<'static>> {
    let text = expect.map_or_else(|| ANY.to_owned(), |node| format!("{node}{SUFFIX}"));
    DnsName::try_from(text).ok().map(ServerName::DnsName)
}

/// The node that the certificate names.
pub(super) fn node_of(certificates: &[CertificateDer<'_>]) -> Option<NodeId> {
    let (_, certificate) = X509Certificate::from_der(certificates.first()?).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => NodeId::parse(name.strip_suffix(SUFFIX)?).ok(),
        _ => None,
    })
}
