//! Makes the certificates of the public listener: an authority that clients may trust, and short-lived leaves.
//!
//! Nothing here reads or writes a file.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::TrustError;

/// 10 years: clients were told to trust it, by hand.
const AUTHORITY_LIFE: Duration = Duration::days(3650);
/// 90 days: short enough that rotation is exercised, long enough that nobody waits for it.
pub(super) const LEAF_LIFE: Duration = Duration::days(90);
/// 24 h: a client whose clock lags by less accepts a certificate that was made just now.
const BACKDATED: Duration = Duration::hours(24);

/// How the names of our authorities begin, and what our leaves are called: so ours are told from the operator's.
pub(super) const AUTHORITY: &str = "swarmgate CA ";
pub(super) const LEAF: &str = "swarmgate";

/// Names and addresses in a certificate, as text.
pub(super) type Names = BTreeSet<String>;

/// PEM texts of a certificate and its key.
#[derive(Clone)]
pub(super) struct Pem {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// What a certificate says that matters to rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) from: OffsetDateTime,
    pub(super) until: OffsetDateTime,
    pub(super) names: Names,
    pub(super) subject: String,
    pub(super) issuer: String,
}

impl Said {
    pub(super) fn parse(der: &[u8]) -> Result<Self, TrustError> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|_| TrustError::Parse)?;
        let validity = certificate.validity();
        Ok(Self {
            from: validity.not_before.to_datetime(),
            until: validity.not_after.to_datetime(),
            names: names_in(&certificate),
            subject: common_name(certificate.subject()),
            issuer: common_name(certificate.issuer()),
        })
    }

    pub(super) fn is_valid_at(&self, now: OffsetDateTime) -> bool {
        (self.from..=self.until).contains(&now)
    }

    /// Whether two thirds of its life are over, or the clock was set back to before it.
    pub(super) fn is_stale_at(&self, now: OffsetDateTime) -> bool {
        now < self.from || now >= self.from + (self.until - self.from) * 2 / 3
    }
}

/// Makes an authority of its own key. Its name tells it from every other agent's.
pub(super) fn authority(now: OffsetDateTime) -> Result<Pem, TrustError> {
    let key = KeyPair::generate()?;
    let mut params = authority_params(&key);
    params.not_before = now - BACKDATED;
    params.not_after = now + AUTHORITY_LIFE;
    let certificate = params.self_signed(&key)?;
    Ok(Pem { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Makes a leaf for `names` under the authority with this key.
pub(super) fn leaf(authority: &Pem, names: &Names, now: OffsetDateTime) -> Result<Pem, TrustError> {
    let authority_key = KeyPair::from_pem(&authority.key)?;
    let issuer = Issuer::new(authority_params(&authority_key), authority_key);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATED;
    params.not_after = now + LEAF_LIFE;
    params.distinguished_name = called(LEAF);
    params.subject_alt_names = names.iter().filter_map(|name| alternative(name)).collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Pem { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// The name of the authority with this key, if the text is a key.
pub(super) fn authority_name(key: &str) -> Option<String> {
    KeyPair::from_pem(key).ok().map(|key| name_by_key(&key))
}

/// The wanted names that a certificate can carry.
pub(super) fn usable(wanted: impl IntoIterator<Item = String>) -> Names {
    let canonical = |name: String| name.parse::<IpAddr>().map_or(name, |address| address.to_string());
    wanted.into_iter().map(canonical).filter(|name| alternative(name).is_some()).collect()
}

/// Only from the key, so that it can be made again for each new leaf: what is signed with needs name and key alone.
fn authority_params(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = called(&name_by_key(key));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn name_by_key(key: &KeyPair) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.public_key_raw());
    format!("{AUTHORITY}{}", hex::encode(digest.as_ref().get(..8).unwrap_or_default()))
}

fn called(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn alternative(name: &str) -> Option<SanType> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Some(SanType::IpAddress(address));
    }
    let wild = name.strip_prefix("*.").unwrap_or(name);
    rustls::pki_types::DnsName::try_from(wild).ok()?;
    Some(SanType::DnsName(name.try_into().ok()?))
}

fn common_name(name: &x509_parser::x509::X509Name<'_>) -> String {
    let first = name.iter_common_name().next().and_then(|name| name.as_str().ok());
    first.unwrap_or_default().to_owned()
}

fn names_in(certificate: &X509Certificate<'_>) -> Names {
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return Names::new() };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    };
    alternatives.value.general_names.iter().filter_map(text).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    four.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}
