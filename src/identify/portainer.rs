//! Portainer's two signature headers: a public key, and an ECDSA signature over an MD5 digest.
//!
//! One form only: a P-256 key as uncompressed SubjectPublicKeyInfo in hex, and `r || s` in 86 characters of
//! unpadded base64. The shape is looked at first, since a verification costs as much as the rest of a request.

use std::fmt;

use aws_lc_rs::digest::{self, Digest, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::{HeaderMap, HeaderName};
use md5::Digest as _;

use super::Denied;
use crate::model::Fingerprint;

const PUBLIC_KEY: HeaderName = HeaderName::from_static("x-portaineragent-publickey");
const SIGNATURE: HeaderName = HeaderName::from_static("x-portaineragent-signature");

/// DER of a P-256 SubjectPublicKeyInfo: 26 bytes that never differ, 0x04, and the point's two coordinates.
const DER: usize = 91;
const DER_HEAD: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
/// `r || s`, and what its base64 takes without padding.
const RAW: usize = 64;
const ENCODED: usize = 86;

/// A key that made, or may make, Portainer's signatures: a point of P-256.
#[derive(Clone)]
pub struct PublicKey {
    pub fingerprint: Fingerprint,
    der: [u8; DER],
    parsed: ParsedPublicKey,
}

impl PublicKey {
    /// Accepts 91 bytes of DER whose uncompressed point is on the curve.
    pub fn parse(der: &[u8]) -> Option<Self> {
        // The library would take a bare point and a compressed one as well.
        let der: [u8; DER] = der.try_into().ok().filter(|der: &[u8; DER]| der.starts_with(&DER_HEAD))?;
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, der).ok()?;
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&SHA256, &der).as_ref());
        Some(Self { fingerprint: Fingerprint(hash), der, parsed })
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.fingerprint, f)
    }
}

/// What has to be signed, as the verification wants it.
pub(super) struct Message(Digest);

impl Message {
    #[expect(clippy::expect_used, reason = "32 bytes are the length of a SHA-256 digest")]
    pub(super) fn new(text: &str) -> Self {
        // ECDSA takes the digest as a number: zeros on the left leave MD5's 16 bytes what they are.
        let mut padded = [0; 32];
        padded[16..].copy_from_slice(&md5::Md5::digest(text.as_bytes()));
        Self(Digest::import_less_safe(&padded, &SHA256).expect("32 bytes"))
    }
}

/// Both headers of one request, decoded; nothing is proved yet.
pub(super) struct Presented {
    der: [u8; DER],
    signature: [u8; RAW],
}

impl Presented {
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Denied> {
        let header = |name| headers.get(name).map(|value| value.as_bytes()).filter(|value| !value.is_empty());
        let (Some(key), Some(signature)) = (header(PUBLIC_KEY), header(SIGNATURE)) else {
            return Err(Denied::Missing);
        };
        let signature = decode_signature(signature).ok_or(Denied::Invalid)?;
        let mut der = [0; DER];
        hex::decode_to_slice(key, &mut der).map_err(|_| Denied::Invalid)?;
        Ok(Self { der, signature })
    }

    pub(super) fn is(&self, key: &PublicKey) -> bool {
        self.der == key.der
    }

    /// Proves that `key` signed `message`.
    pub(super) fn verify(&self, key: &PublicKey, message: &Message) -> Result<(), Denied> {
        key.parsed.verify_digest_sig(&message.0, &self.signature).map_err(|_| Denied::Invalid)
    }

    /// The presented key, if it signed `message`.
    pub(super) fn verified(&self, message: &Message) -> Result<PublicKey, Denied> {
        let key = PublicKey::parse(&self.der).ok_or(Denied::Invalid)?;
        self.verify(&key, message)?;
        Ok(key)
    }
}

fn decode_signature(text: &[u8]) -> Option<[u8; RAW]> {
    // Two bytes more than are needed: the decoder checks its room in whole groups of three.
    let mut room = [0; RAW + 2];
    let sized = text.len() == ENCODED;
    let length = if sized { STANDARD_NO_PAD.decode_slice(text, &mut room).ok()? } else { 0 };
    room.get(..length)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::signature::hazmat::PrehashSigner;
    use p256::ecdsa::{Signature, SigningKey};
    use p256::pkcs8::EncodePublicKey;

    use super::*;

    fn signer() -> (SigningKey, PublicKey) {
        let secret: [u8; 32] = std::array::from_fn(|at| at as u8 + 1);
        let signer = SigningKey::from_slice(&secret).unwrap();
        let der = p256::PublicKey::from(signer.verifying_key()).to_public_key_der().unwrap();
        (signer, PublicKey::parse(der.as_bytes()).unwrap())
    }

    fn presented(signer: &SigningKey, key: &PublicKey, text: &str) -> Presented {
        let signature: Signature = signer.sign_prehash(&md5::Md5::digest(text.as_bytes())).unwrap();
        Presented { der: key.der, signature: signature.to_bytes().into() }
    }

    #[test]
    fn fresh_signatures_over_any_text_verify_over_that_text_alone() {
        let (signer, key) = signer();
        for round in 0..32 {
            let text = format!("secret number {round}");
            let presented = presented(&signer, &key, &text);
            assert!(presented.verified(&Message::new(&text)).is_ok_and(|found| found == key), "{text}");
            assert_eq!(presented.verify(&key, &Message::new("another")), Err(Denied::Invalid), "{text}");
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_spoils_a_signature() {
        let (signer, key) = signer();
        let good = presented(&signer, &key, "Portainer-App");
        for bit in 0..RAW * 8 {
            let mut signature = good.signature;
            signature[bit / 8] ^= 1 << (bit % 8);
            let bad = Presented { der: good.der, signature };
            assert_eq!(bad.verify(&key, &Message::new("Portainer-App")), Err(Denied::Invalid), "bit {bit}");
        }
    }

    #[test]
    fn only_the_one_form_of_a_key_is_taken() {
        let (_, key) = signer();
        assert!(PublicKey::parse(key.der()).is_some());
        let hybrid: Vec<u8> = [&key.der[..26], &[0x06], &key.der[27..]].concat();
        let bare_point = &key.der[26..];
        for (der, what) in [(hybrid.as_slice(), "hybrid"), (bare_point, "bare point"), (&[], "nothing")] {
            assert!(PublicKey::parse(der).is_none(), "{what}");
        }
    }
}
