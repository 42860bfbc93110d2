//! Bytes of a terminal → keys.
//!
//! Pure: times come in with the bytes. Our own decoder, because a sequence that arrives in two
//! pieces, a reply to a question nobody asked, or a paste must never turn into letters: `P`, `A`,
//! `R` and `H` are final bytes of key sequences. What is not understood is swallowed whole.

mod decoder;
mod key;

pub use decoder::{Company, Decoder, Heard};
pub use key::{Key, KeyError};
