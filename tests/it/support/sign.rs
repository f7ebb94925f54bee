//! Signs requests as a Portainer server does: the headers of a key, a fresh signature for each call.
#![allow(dead_code, unreachable_pub, reason = "each crate that includes this uses another part of it")]
#![allow(clippy::expect_used, reason = "a script that cannot go on must stop its test")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::{HeaderMap, HeaderValue};
use md5::{Digest, Md5};
use p256::ecdsa::signature::hazmat::RandomizedPrehashSigner;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::Generate;
use p256::elliptic_curve::rand_core::{TryCryptoRng, TryRng};
use p256::pkcs8::EncodePublicKey;

pub(crate) const PUBLIC_KEY: &str = "X-PortainerAgent-PublicKey";
pub(crate) const SIGNATURE: &str = "X-PortainerAgent-Signature";

/// A Portainer server's key, and the message that it signs.
#[derive(Clone)]
pub(crate) struct Signer {
    key: SigningKey,
    digest: [u8; 16],
    public: String,
}

impl Signer {
    /// A new key. With a secret that is what it signs, else the server's fixed text.
    pub(crate) fn new(secret: Option<&str>) -> Self {
        Self::of(SigningKey::try_generate_from_rng(&mut Random).expect("a key"), secret)
    }

    /// The key with this private scalar, 64 hex digits.
    pub(crate) fn from_scalar(hex_digits: &str, secret: Option<&str>) -> Self {
        let scalar = hex::decode(hex_digits).expect("hex digits");
        Self::of(SigningKey::from_slice(&scalar).expect("a scalar"), secret)
    }

    fn of(key: SigningKey, secret: Option<&str>) -> Self {
        let public = key.verifying_key().to_public_key_der().expect("a public key");
        let digest = Md5::digest(secret.unwrap_or("Portainer-App")).into();
        Self { key, digest, public: hex::encode(public.as_bytes()) }
    }

    /// DER of the SubjectPublicKeyInfo, 91 bytes, in lower-case hex.
    pub(crate) fn public_key(&self) -> &str {
        &self.public
    }

    /// Another one each time.
    pub(crate) fn signature(&self) -> String {
        // The digest is shorter than the curve's order: it counts as a number, with zeros before it.
        let signature: Signature = self.key.sign_prehash_with_rng(&mut Random, &self.digest).expect("signed");
        STANDARD_NO_PAD.encode(signature.to_bytes())
    }

    pub(crate) fn headers(&self) -> [(&'static str, String); 2] {
        [(PUBLIC_KEY, self.public.clone()), (SIGNATURE, self.signature())]
    }

    pub(crate) fn sign(&self, headers: &mut HeaderMap) {
        for (name, value) in self.headers() {
            headers.insert(name, HeaderValue::from_str(&value).expect("plain text"));
        }
    }
}

/// The operating system's randomness, through the provider that is there anyway.
struct Random;

impl TryRng for Random {
    type Error = std::fmt::Error;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        aws_lc_rs::rand::fill(bytes).map_err(|_| std::fmt::Error)
    }
}

impl TryCryptoRng for Random {}
