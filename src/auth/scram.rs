//! SCRAM-SHA-256 and -512 (RFC 5802, RFC 7677), the server's side, with the channel binding `tls-exporter`
//! (RFC 9266): neither the password nor anything that opens the door again crosses the network.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

/// The hash function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ScramHash {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

/// What a client asks for by the Authentication Method.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Mechanism {
    pub hash: ScramHash,
    /// The channel is bound.
    plus: bool,
}

/// What is kept of a user's password.
#[derive(Clone, Debug)]
pub(super) struct ScramKeys {
    pub iterations: u32,
    pub salt: Box<[u8]>,
    /// `StoredKey` and `ServerKey`.
    pub keys: Box<[u8]>,
}

/// The first message of a client.
pub(super) struct ClientFirst {
    /// Its user name.
    pub user: String,
    mechanism: Mechanism,
    gs2_header: String,
    bare: String,
    nonce: String,
}

/// What is awaited: the proof of the client.
pub(super) struct Proof {
    hash: ScramHash,
    keys: ScramKeys,
    /// The messages that are proved, but the last.
    messages: String,
    nonce: String,
    /// `c=` of the last.
    channel: String,
}

/// Why an exchange ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ScramError {
    /// A message is not as the standard has it.
    Malformed,
    /// The channel is not bound as it should be.
    Channel,
    /// The client does not know the password.
    Wrong,
}

/// Longest message of a client.
const MESSAGE_MAX: usize = 4096;

impl ScramHash {
    /// Bytes of a hash.
    pub(super) const fn len(self) -> usize {
        match self {
            ScramHash::Sha256 => 32,
            ScramHash::Sha512 => 64,
        }
    }

    /// As the mechanism and a password file call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            ScramHash::Sha256 => "SCRAM-SHA-256",
            ScramHash::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// `StoredKey` and `ServerKey` of a password.
    pub(super) fn keys(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        let mut salted = vec![0; self.len()];
        match self {
            ScramHash::Sha256 => {
                pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
            }
            ScramHash::Sha512 => {
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut salted);
            }
        }
        let mut keys = self.hash(&self.mac(&salted, b"Client Key"));
        keys.extend(self.mac(&salted, b"Server Key"));
        keys
    }

    fn mac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        let any = "a key of any length will do";
        match self {
            ScramHash::Sha256 => {
                let mac = Hmac::<Sha256>::new_from_slice(key).expect(any);
                mac.chain_update(text).finalize().into_bytes().to_vec()
            }
            ScramHash::Sha512 => {
                let mac = Hmac::<Sha512>::new_from_slice(key).expect(any);
                mac.chain_update(text).finalize().into_bytes().to_vec()
            }
        }
    }

    fn hash(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            ScramHash::Sha256 => Sha256::digest(bytes).to_vec(),
            ScramHash::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }
}

impl Mechanism {
    /// The mechanism of this name, if it is one of these.
    pub fn of(method: &str) -> Option<Mechanism> {
        let name = method.strip_suffix("-PLUS");
        let hash = [ScramHash::Sha256, ScramHash::Sha512].into_iter();
        let hash = hash.clone().find(|hash| hash.name() == name.unwrap_or(method))?;
        Some(Mechanism { hash, plus: name.is_some() })
    }
}

impl ClientFirst {
    /// Reads it. `binding`: what binds this channel, if anything does.
    pub fn read(
        data: &[u8],
        mechanism: Mechanism,
        binding: Option<&[u8]>,
    ) -> Result<ClientFirst, ScramError> {
        let text = text(data)?;
        let mut parts = text.splitn(3, ',');
        let (Some(flag), Some(other), Some(bare)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(ScramError::Malformed);
        };
        // A login on behalf of another user is refused.
        if !other.is_empty() {
            return Err(ScramError::Malformed);
        }
        let bound = match flag {
            "n" => false,
            // It could bind the channel and thinks that we cannot: somebody between us may have said so.
            "y" if binding.is_some() => return Err(ScramError::Channel),
            "y" => false,
            "p=tls-exporter" if binding.is_some() => true,
            _ if flag.starts_with("p=") => return Err(ScramError::Channel),
            _ => return Err(ScramError::Malformed),
        };
        if bound != mechanism.plus {
            return Err(ScramError::Channel);
        }
        // An extension that must be understood stands first: `m=`. None is.
        let mut attributes = bare.split(',');
        let user = attributes.next().and_then(|part| part.strip_prefix("n="));
        let nonce = attributes.next().and_then(|part| part.strip_prefix("r="));
        let (Some(user), Some(nonce)) = (user, nonce.filter(|nonce| is_nonce(nonce))) else {
            return Err(ScramError::Malformed);
        };
        Ok(ClientFirst {
            user: unescaped(user).ok_or(ScramError::Malformed)?,
            mechanism,
            gs2_header: format!("{flag},,"),
            bare: bare.to_owned(),
            nonce: nonce.to_owned(),
        })
    }

    /// The answer, and what it asks for. `server_nonce` is random.
    pub fn challenge(
        self,
        keys: ScramKeys,
        server_nonce: &[u8],
        binding: Option<&[u8]>,
    ) -> (Vec<u8>, Proof) {
        let nonce = format!("{}{}", self.nonce, BASE64.encode(server_nonce));
        let (salt, iterations) = (BASE64.encode(&keys.salt), keys.iterations);
        let first = format!("r={nonce},s={salt},i={iterations}");
        let mut channel = self.gs2_header.into_bytes();
        if self.mechanism.plus {
            channel.extend(binding.unwrap_or_default());
        }
        let proof = Proof {
            hash: self.mechanism.hash,
            keys,
            messages: format!("{},{first}", self.bare),
            nonce,
            channel: BASE64.encode(channel),
        };
        (first.into_bytes(), proof)
    }
}

impl Proof {
    /// Checks it; returns the proof that this is the server.
    pub fn check(&self, data: &[u8]) -> Result<Vec<u8>, ScramError> {
        let text = text(data)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let proof = BASE64.decode(proof).map_err(|_| ScramError::Malformed)?;
        let mut attributes = without_proof.split(',');
        let channel = attributes.next().and_then(|part| part.strip_prefix("c="));
        let nonce = attributes.next().and_then(|part| part.strip_prefix("r="));
        let (Some(channel), Some(nonce)) = (channel, nonce) else {
            return Err(ScramError::Malformed);
        };
        if channel != self.channel {
            return Err(ScramError::Channel);
        }
        let len = self.hash.len();
        if nonce != self.nonce || proof.len() != len {
            return Err(ScramError::Malformed);
        }
        let messages = format!("{},{without_proof}", self.messages);
        let (stored_key, server_key) = self.keys.keys.split_at(len);
        let signature = self.hash.mac(stored_key, messages.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        if !bool::from(self.hash.hash(&client_key).ct_eq(stored_key)) {
            return Err(ScramError::Wrong);
        }
        let signature = self.hash.mac(server_key, messages.as_bytes());
        Ok(format!("v={}", BASE64.encode(signature)).into_bytes())
    }
}

fn text(data: &[u8]) -> Result<&str, ScramError> {
    let text = std::str::from_utf8(data).map_err(|_| ScramError::Malformed)?;
    Some(text).filter(|text| text.len() <= MESSAGE_MAX).ok_or(ScramError::Malformed)
}

fn is_nonce(nonce: &str) -> bool {
    !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A name as it is: `=2C` stands for a comma and `=3D` for an equals sign.
fn unescaped(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut plain = parts.next()?.to_owned();
    for part in parts {
        let (sign, rest) = if let Some(rest) = part.strip_prefix("2C") {
            (',', rest)
        } else {
            ('=', part.strip_prefix("3D")?)
        };
        plain.push(sign);
        plain.push_str(rest);
    }
    Some(plain).filter(|plain| !plain.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Mechanism = Mechanism { hash: ScramHash::Sha256, plus: false };
    const PLUS: Mechanism = Mechanism { hash: ScramHash::Sha256, plus: true };

    /// The exchange of RFC 7677, section 3: the server's nonce is part of the text there.
    #[test]
    fn the_example_of_the_standard() {
        let first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
        let first = ClientFirst::read(first, PLAIN, None).unwrap();
        assert_eq!(first.user, "user");
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = ScramHash::Sha256.keys(b"pencil", &salt, 4096);
        let keys = ScramKeys { iterations: 4096, salt: salt.into(), keys: keys.into() };
        let (_, mut proof) = first.challenge(keys, b"", None);
        // The nonce there is not base64 of anything.
        proof.nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned();
        proof.messages = format!(
            "n=user,r=rOprNGfwEbeRWgbNEkqO,r={},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            proof.nonce
        );
        let last =
            format!("c=biws,r={},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", proof.nonce);
        let answer = proof.check(last.as_bytes()).unwrap();
        assert_eq!(answer, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        let wrong = last.replace("dHzb", "dHzc");
        assert_eq!(proof.check(wrong.as_bytes()), Err(ScramError::Wrong));
        for (last, error) in [
            (last.replace("biws", "eSws"), ScramError::Channel),
            (last.replace("k0,", "k1,"), ScramError::Malformed),
            (last.replace("c=", "x="), ScramError::Malformed),
            (last.replace(",p=", ",q="), ScramError::Malformed),
            (last.replace("VQ=", "VQ"), ScramError::Malformed),
        ] {
            assert_eq!(proof.check(last.as_bytes()), Err(error), "{last}");
        }
    }

    #[test]
    fn the_channel_is_bound_where_it_can_be_or_not_at_all() {
        let binding = Some(&b"secret of the channel"[..]);
        for (first, mechanism, binding, wanted) in [
            ("n,,n=a,r=x", PLAIN, None, None),
            ("n,,n=a,r=x", PLAIN, binding, None),
            ("y,,n=a,r=x", PLAIN, None, None),
            ("p=tls-exporter,,n=a,r=x", PLUS, binding, None),
            ("y,,n=a,r=x", PLAIN, binding, Some(ScramError::Channel)),
            ("n,,n=a,r=x", PLUS, binding, Some(ScramError::Channel)),
            ("p=tls-exporter,,n=a,r=x", PLAIN, binding, Some(ScramError::Channel)),
            ("p=tls-exporter,,n=a,r=x", PLUS, None, Some(ScramError::Channel)),
            ("p=tls-unique,,n=a,r=x", PLUS, binding, Some(ScramError::Channel)),
        ] {
            let found = ClientFirst::read(first.as_bytes(), mechanism, binding).err();
            assert_eq!(found, wanted, "{first} {mechanism:?}");
        }
    }

    #[test]
    fn a_first_message_that_is_none_is_refused() {
        for first in [
            "",
            "n,,",
            "n,,n=a",
            "n,,r=x",
            "n,,n=,r=x",
            "n,,n=a,r=",
            "n,a=b,n=a,r=x",
            "z,,n=a,r=x",
            "n,,m=x,n=a,r=x",
            "n,,n=a=,r=x",
            "n,,n=a=2c,r=x",
            "n,,n=a,r=\u{e4}",
            "n,,r=x,n=a",
        ] {
            let found = ClientFirst::read(first.as_bytes(), PLAIN, None).err();
            assert_eq!(found, Some(ScramError::Malformed), "{first}");
        }
        let long = format!("n,,n={},r=x", "a".repeat(MESSAGE_MAX));
        assert!(ClientFirst::read(long.as_bytes(), PLAIN, None).is_err());
        let escaped = ClientFirst::read(b"n,,n=a=2Cb=3Dc,r=x,e=later", PLAIN, None).unwrap();
        assert_eq!(escaped.user, "a,b=c");
    }

    #[test]
    fn mechanisms_have_four_names() {
        for (name, wanted) in [
            ("SCRAM-SHA-256", Some(PLAIN)),
            ("SCRAM-SHA-256-PLUS", Some(PLUS)),
            ("SCRAM-SHA-512", Some(Mechanism { hash: ScramHash::Sha512, plus: false })),
            ("SCRAM-SHA-512-PLUS", Some(Mechanism { hash: ScramHash::Sha512, plus: true })),
            ("SCRAM-SHA-1", None),
            ("scram-sha-256", None),
            ("", None),
        ] {
            assert_eq!(Mechanism::of(name), wanted, "{name}");
        }
    }
}
