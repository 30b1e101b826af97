//! How a password file keeps a password, and what it costs to check one.

use argon2::{Argon2, Version as ArgonVersion};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, STANDARD_NO_PAD as BASE64_BARE};
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use super::scram::{ScramHash, ScramKeys};

/// More iterations in a file are taken for a mistake: one check would last seconds.
pub const ITERATIONS_MAX: u32 = 10_000_000;
/// Length of the hashes of `$6$` and `$7$`, in bytes.
pub(super) const HASH_LEN: usize = 64;
/// Length of the salt of a new hash, in bytes.
pub(super) const SALT_LEN: usize = 12;
/// Most memory of one check with Argon2, in KiB: more in a file is taken for a mistake.
const ARGON2_MEMORY_MAX: u32 = 1 << 20;
/// Most passes of one check with Argon2.
const ARGON2_PASSES_MAX: u32 = 100;
/// `v=19`.
const ARGON2_VERSION: ArgonVersion = ArgonVersion::V0x13;
/// What Argon2 costs for each KiB and pass, in iterations of PBKDF2.
const ITERATIONS_PER_KIB: u32 = 4;

/// How a password is kept.
#[derive(Clone)]
pub(super) struct StoredPassword {
    method: HashMethod,
    salt: Box<[u8]>,
    hash: Box<[u8]>,
}

/// How the hash of a password is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HashMethod {
    /// `$6$`: one salted SHA-512.
    Sha512,
    /// `$7$`: PBKDF2 with HMAC-SHA-512.
    Pbkdf2 {
        /// How often it is applied.
        iterations: u32,
    },
    /// `$argon2id$`.
    Argon2 {
        /// Memory, in KiB.
        memory: u32,
        /// Passes over it.
        passes: u32,
        /// Parts of it.
        lanes: u32,
    },
    /// The keys of SCRAM, which is no hash of the password alone: what the file has does not open the door.
    Scram {
        /// Its hash function.
        hash: ScramHash,
        /// How often it is applied.
        iterations: u32,
    },
}

/// As mosquitto 2.1 does: some 68 ms and 46 MiB.
pub const ARGON2: HashMethod = HashMethod::Argon2 { memory: 47_104, passes: 1, lanes: 1 };

impl StoredPassword {
    /// A new one, with this salt.
    pub fn new(method: HashMethod, salt: &[u8], password: &[u8]) -> StoredPassword {
        let len = match method {
            HashMethod::Scram { hash, .. } => 2 * hash.len(),
            _ => HASH_LEN,
        };
        let mut hash = vec![0; len];
        method.hash(password, salt, &mut hash);
        StoredPassword { method, salt: salt.into(), hash: hash.into() }
    }

    /// As costly as a new one, and no password matches it.
    pub fn unknown(iterations: u32) -> StoredPassword {
        StoredPassword {
            method: HashMethod::Pbkdf2 { iterations },
            salt: [0; SALT_LEN].into(),
            hash: [0; HASH_LEN].into(),
        }
    }

    /// Reads what stands behind the user's name.
    pub fn parse(text: &str) -> Result<StoredPassword, &'static str> {
        for hash in [ScramHash::Sha256, ScramHash::Sha512] {
            if let Some(rest) = text.strip_prefix(hash.name()) {
                return StoredPassword::parse_scram(hash, rest.trim_end());
            }
        }
        let mut fields = text.trim_end().split('$');
        match (fields.next(), fields.next()) {
            (Some(""), Some("argon2id")) => StoredPassword::parse_argon2(fields),
            (Some(""), Some("7")) => {
                let iterations = fields.next().and_then(|field| field.parse().ok());
                let iterations = iterations.filter(|count| (1..=ITERATIONS_MAX).contains(count));
                let iterations =
                    iterations.ok_or("the iterations are not a number from 1 to 10000000")?;
                StoredPassword::parse_sha512(HashMethod::Pbkdf2 { iterations }, fields)
            }
            (Some(""), Some("6")) => StoredPassword::parse_sha512(HashMethod::Sha512, fields),
            (Some(""), Some(_)) => Err("unknown kind of hash; expected $7$, $argon2id$ or $6$"),
            _ => {
                Err("the password is not hashed; `sluice passwd` or `mosquitto_passwd -U` does it")
            }
        }
    }

    fn parse_sha512<'a>(
        method: HashMethod,
        mut fields: impl Iterator<Item = &'a str>,
    ) -> Result<StoredPassword, &'static str> {
        let (Some(salt), Some(hash), None) = (fields.next(), fields.next(), fields.next()) else {
            return Err("expected $7$iterations$salt$hash or $6$salt$hash");
        };
        let salt = BASE64.decode(salt).map_err(|_| "the salt is not base64")?;
        let hash = BASE64.decode(hash).map_err(|_| "the hash is not base64")?;
        if hash.len() != HASH_LEN {
            return Err("the hash is not of 64 bytes");
        }
        Ok(StoredPassword { method, salt: salt.into(), hash: hash.into() })
    }

    fn parse_argon2<'a>(
        mut fields: impl Iterator<Item = &'a str>,
    ) -> Result<StoredPassword, &'static str> {
        let form = "expected $argon2id$v=19$m=...,t=...,p=...$salt$hash";
        let (Some(version), Some(costs), Some(salt), Some(hash), None) =
            (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(form);
        };
        if version != "v=19" {
            return Err("the version of $argon2id$ is not v=19");
        }
        let mut costs = costs.split(',');
        let mut cost = |name: &str, max: u32| -> Result<u32, &'static str> {
            let value = costs.next().and_then(|cost| cost.strip_prefix(name)).ok_or(form)?;
            let value = value.parse().ok().filter(|value| (1..=max).contains(value));
            value.ok_or("m, t or p of $argon2id$ is out of range")
        };
        let method = HashMethod::Argon2 {
            memory: cost("m=", ARGON2_MEMORY_MAX)?,
            passes: cost("t=", ARGON2_PASSES_MAX)?,
            lanes: cost("p=", 255)?,
        };
        let salt =
            BASE64_BARE.decode(salt).map_err(|_| "the salt is not base64 without padding")?;
        let hash =
            BASE64_BARE.decode(hash).map_err(|_| "the hash is not base64 without padding")?;
        if !(8..=1024).contains(&salt.len()) || !(16..=1024).contains(&hash.len()) {
            return Err("the salt is not of 8 to 1024 bytes, or the hash not of 16 to 1024");
        }
        method.argon2(hash.len()).ok_or("m, t or p of $argon2id$ is out of range")?;
        Ok(StoredPassword { method, salt: salt.into(), hash: hash.into() })
    }

    /// As RFC 5803 and PostgreSQL have it.
    fn parse_scram(hash: ScramHash, text: &str) -> Result<StoredPassword, &'static str> {
        let form = "expected SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey";
        let mut fields = text.split(['$', ':']);
        let (Some(""), Some(iterations), Some(salt), Some(stored), Some(server), None) = (
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
        ) else {
            return Err(form);
        };
        let iterations =
            iterations.parse().ok().filter(|count| (1..=ITERATIONS_MAX).contains(count));
        let iterations = iterations.ok_or("the iterations are not a number from 1 to 10000000")?;
        let salt = BASE64.decode(salt).map_err(|_| "the salt is not base64")?;
        let mut keys = BASE64.decode(stored).map_err(|_| "a key is not base64")?;
        let stored_len = keys.len();
        keys.extend(BASE64.decode(server).map_err(|_| "a key is not base64")?);
        if salt.is_empty() || (stored_len, keys.len()) != (hash.len(), 2 * hash.len()) {
            return Err("a key is not as long as a hash, or there is no salt");
        }
        let method = HashMethod::Scram { hash, iterations };
        Ok(StoredPassword { method, salt: salt.into(), hash: keys.into() })
    }

    /// The keys of SCRAM with this hash function, if it has those.
    pub fn scram(&self, wanted: ScramHash) -> Option<ScramKeys> {
        match self.method {
            HashMethod::Scram { hash, iterations } if hash == wanted => {
                Some(ScramKeys { iterations, salt: self.salt.clone(), keys: self.hash.clone() })
            }
            _ => None,
        }
    }

    /// Whether it has keys of SCRAM.
    pub fn is_scram(&self) -> bool {
        matches!(self.method, HashMethod::Scram { .. })
    }

    /// As costly as this one, and no password matches it.
    pub fn decoy(&self) -> StoredPassword {
        let hash = vec![0; self.hash.len()];
        StoredPassword { hash: hash.into(), ..self.clone() }
    }

    /// Whether it is the hash of `password`.
    pub fn matches(&self, password: &[u8]) -> bool {
        let mut hash = vec![0; self.hash.len()];
        self.method.hash(password, &self.salt, &mut hash);
        hash.ct_eq(&self.hash).into()
    }

    /// What a check costs, in iterations of PBKDF2: some 0.4 µs each.
    pub fn cost(&self) -> u32 {
        self.method.cost()
    }

    /// What it is, without the password: another one is another text.
    pub fn identity(&self) -> [&[u8]; 2] {
        [&self.salt, &self.hash]
    }
}

impl HashMethod {
    fn cost(self) -> u32 {
        match self {
            HashMethod::Sha512 => 1,
            HashMethod::Pbkdf2 { iterations } | HashMethod::Scram { iterations, .. } => iterations,
            HashMethod::Argon2 { memory, passes, .. } => {
                memory.saturating_mul(passes).saturating_mul(ITERATIONS_PER_KIB)
            }
        }
    }

    fn hash(self, password: &[u8], salt: &[u8], hash: &mut [u8]) {
        #[cfg(test)]
        tests::WORK.set(tests::WORK.get() + u64::from(self.cost()));
        match self {
            HashMethod::Sha512 => {
                let made = Sha512::new().chain_update(password).chain_update(salt).finalize();
                hash.copy_from_slice(&made);
            }
            HashMethod::Pbkdf2 { iterations } => {
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, hash);
            }
            HashMethod::Argon2 { .. } => {
                let made = self.argon2(hash.len());
                let made =
                    made.and_then(|argon2| argon2.hash_password_into(password, salt, hash).ok());
                // What it needs was looked at when the line was read.
                made.expect("costs and lengths that Argon2 takes");
            }
            HashMethod::Scram { hash: function, iterations } => {
                hash.copy_from_slice(&function.keys(password, salt, iterations));
            }
        }
    }

    /// The function, for a hash of this length; `None` if there is none with these costs.
    fn argon2(self, len: usize) -> Option<Argon2<'static>> {
        let HashMethod::Argon2 { memory, passes, lanes } = self else { return None };
        let params = argon2::Params::new(memory, passes, lanes, Some(len)).ok()?;
        Some(Argon2::new(argon2::Algorithm::Argon2id, ARGON2_VERSION, params))
    }
}

impl std::fmt::Display for StoredPassword {
    /// As the file has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let padded = [BASE64.encode(&self.salt), BASE64.encode(&self.hash)].join("$");
        match self.method {
            HashMethod::Sha512 => write!(f, "$6${padded}"),
            HashMethod::Pbkdf2 { iterations } => write!(f, "$7${iterations}${padded}"),
            HashMethod::Argon2 { memory, passes, lanes } => write!(
                f,
                "$argon2id$v=19$m={memory},t={passes},p={lanes}${}${}",
                BASE64_BARE.encode(&self.salt),
                BASE64_BARE.encode(&self.hash)
            ),
            HashMethod::Scram { hash, iterations } => {
                let (stored, server) = self.hash.split_at(hash.len());
                let [salt, stored, server] =
                    [&*self.salt, stored, server].map(|part| BASE64.encode(part));
                write!(f, "{}${iterations}:{salt}${stored}:{server}", hash.name())
            }
        }
    }
}

impl std::fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredPassword").field("method", &self.method).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// What this thread has spent on hashes, in iterations.
        pub static WORK: Cell<u64> = const { Cell::new(0) };
    }

    /// Of the tests of the reference implementation, for `password`.
    const VECTOR: &str =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    #[test]
    fn argon2_is_read_as_others_write_it() {
        let stored = StoredPassword::parse(VECTOR).unwrap();
        assert!(stored.matches(b"password") && !stored.matches(b"Password"));
        assert_eq!(stored.to_string(), VECTOR);
        assert_eq!(stored.cost(), 2048);
    }

    #[test]
    fn what_is_written_is_read() {
        let small = HashMethod::Argon2 { memory: 16, passes: 1, lanes: 1 };
        let scram = |hash| HashMethod::Scram { hash, iterations: 2 };
        let scram = [scram(ScramHash::Sha256), scram(ScramHash::Sha512)];
        for method in [HashMethod::Sha512, HashMethod::Pbkdf2 { iterations: 2 }, small]
            .into_iter()
            .chain(scram)
        {
            let stored = StoredPassword::new(method, b"salt of 12 b", b"secret");
            let read = StoredPassword::parse(&stored.to_string()).unwrap();
            assert!(read.matches(b"secret") && !read.matches(b"other"), "{method:?}");
            assert!(!read.decoy().matches(b"secret"), "{method:?}");
            assert_eq!(read.decoy().cost(), stored.cost());
        }
    }

    /// What PostgreSQL 15 has in `pg_authid` for the password `pencil`, as RFC 7677 computes it.
    #[test]
    fn keys_of_scram_are_read_as_others_write_them() {
        let line = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        let stored = StoredPassword::parse(line).unwrap();
        assert!(stored.matches(b"pencil") && !stored.matches(b"pen"));
        assert_eq!(stored.to_string(), line);
        for (from, to, wanted) in [
            ("4096", "0", "the iterations are not"),
            ("==$", "=$", "the salt is not base64"),
            ("qY=:", ":", "a key is not base64"),
            ("W22ZaJ0SNY7soEsUEjb6gQ==", "", "a key is not as long"),
            ("WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=", "AAAA", "a key is not as long"),
            (":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=", "", "expected SCRAM-SHA-256$"),
            ("$4096", "4096", "expected SCRAM-SHA-256$"),
        ] {
            let problem = StoredPassword::parse(&line.replace(from, to)).unwrap_err();
            assert!(problem.starts_with(wanted), "{from} {to}: {problem}");
        }
    }

    #[test]
    fn costs_of_argon2_that_no_machine_bears_are_refused() {
        for (line, wanted) in [
            ("$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHQ$AAAA", "the version"),
            ("$argon2id$v=19$m=64,t=1$c2FsdHNhbHQ$AAAA", "expected $argon2id$v=19$m="),
            ("$argon2id$v=19$t=1,m=64,p=1$c2FsdHNhbHQ$AAAA", "expected $argon2id$v=19$m="),
            ("$argon2id$v=19$m=9999999,t=1,p=1$c2FsdHNhbHQ$AAAA", "m, t or p"),
            ("$argon2id$v=19$m=64,t=0,p=1$c2FsdHNhbHQ$AAAA", "m, t or p"),
            ("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$AAAA", "the salt is not of 8"),
            ("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ=$AAAA", "the salt is not base64"),
            ("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ", "expected $argon2id$v=19$m="),
            (
                "$argon2id$v=19$m=7,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
                "m, t or p of $argon2id$ is out of range",
            ),
        ] {
            let problem = StoredPassword::parse(line).unwrap_err();
            assert!(problem.starts_with(wanted), "{line}: {problem}");
        }
    }
}
