//! What a Portainer server does to each request it sends to an agent: two headers, a P-256 public key and that
//! key's signature over a fixed text. The text is `Portainer-App`, or the AGENT_SECRET that both sides know.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use md5::{Digest, Md5};
use p256::SecretKey;
use p256::ecdsa::signature::hazmat::RandomizedPrehashSigner;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::rand_core::{TryCryptoRng, TryRng};
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};

/// The names of the two headers.
pub(crate) const PUBLIC_KEY: &str = "X-PortainerAgent-PublicKey";
pub(crate) const SIGNATURE: &str = "X-PortainerAgent-Signature";

/// The key in a PEM file; a new one is made, and kept there for its owner only, if there is no such file.
pub(crate) fn key_in(file: &Path) -> Result<SecretKey, Box<dyn Error>> {
    if file.exists() {
        return Ok(SecretKey::from_pkcs8_pem(&fs::read_to_string(file)?)?);
    }
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)?;
    let key = SecretKey::from_slice(&bytes)?;
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    new.write_all(key.to_pkcs8_pem(LineEnding::LF)?.as_bytes())?;
    Ok(key)
}

/// The value of the public key's header: its SubjectPublicKeyInfo in DER, in hex.
pub(crate) fn public_key(key: &SecretKey) -> Result<String, Box<dyn Error>> {
    Ok(hex::encode(key.public_key().to_public_key_der()?.as_bytes()))
}

/// The value of the signature's header, another one each time: `r` and `s`, 32 bytes each, in base64 without padding.
pub(crate) fn signature(key: &SecretKey, text: &str) -> Result<String, Box<dyn Error>> {
    let signature: Signature =
        SigningKey::from(key).sign_prehash_with_rng(&mut Chance, &Md5::digest(text))?;
    Ok(STANDARD_NO_PAD.encode(signature.to_bytes()))
}

/// The system's randomness, in the shape that `p256` asks for.
struct Chance;

impl TryRng for Chance {
    type Error = std::io::Error;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        aws_lc_rs::rand::fill(bytes).map_err(|_| std::io::Error::other("no randomness"))
    }
}

impl TryCryptoRng for Chance {}
