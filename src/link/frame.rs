//! Frames: a 4-byte big-endian length, then that much JSON.
//!
//! Must not know what the frames say. A frame has a length limit and, once begun, a deadline;
//! between frames a connection may be silent for ever.

use super::wire::FRAME_BYTES_MAX;
use crate::model::Clean;
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

/// Bytes of the length in front of each frame.
const HEAD_BYTES: usize = 4;

/// Bytes read at a time while no frame is begun; requests are smaller.
const READ_BYTES: usize = 4 * 1024;

/// Longest part of a parser's complaint that is passed on; it quotes what the peer sent.
const COMPLAINT_CHARS_MAX: usize = 200;

/// Why a frame could not be read or written. The connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// It is longer than [`FRAME_BYTES_MAX`].
    #[error("a frame is longer than {FRAME_BYTES_MAX} bytes; ask for less at a time")]
    TooLong,
    /// It is not what the protocol says.
    #[error("a frame does not follow the protocol ({why}); use the same version on both sides")]
    Malformed {
        /// What the parser says.
        why: Clean,
    },
    /// The connection ended within it.
    #[error("the connection ended within a frame; connect again")]
    Cut,
    /// It was begun but not finished, or written but not read, in time.
    #[error("a frame was not finished within {deadline:?}; connect again")]
    Slow {
        /// How long it was waited for.
        deadline: Duration,
    },
    /// The connection failed.
    #[error("the connection failed; connect again")]
    Io(#[from] io::Error),
}

/// Reads frames from one side of a connection.
pub struct FrameReader<R> {
    input: R,
    codec: LengthDelimitedCodec,
    buffer: BytesMut,
    /// Bytes received that belong to no finished frame.
    unfinished: usize,
    /// When the first of those arrived.
    began: Option<Instant>,
    deadline: Duration,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `input`; a frame that has begun must end within `deadline`.
    pub fn new(input: R, deadline: Duration) -> Self {
        let codec = LengthDelimitedCodec::builder()
            .length_field_length(HEAD_BYTES)
            .max_frame_length(FRAME_BYTES_MAX)
            .new_codec();
        Self {
            input,
            codec,
            buffer: BytesMut::new(),
            unfinished: 0,
            began: None,
            deadline,
        }
    }

    /// The next frame; `None` when the peer closed the connection between two frames.
    ///
    /// Cancel-safe: what was received stays for the next call, and so does the deadline.
    ///
    /// # Errors
    /// Any [`FrameError`]; nothing more can be read after it.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        loop {
            if let Some(json) = self.take()? {
                return decode(&json).map(Some);
            }
            self.buffer.reserve(READ_BYTES);
            let read = self.input.read_buf(&mut self.buffer);
            let count = match self.began {
                None => read.await?,
                Some(began) => timeout_at(began + self.deadline, read)
                    .await
                    .map_err(|_| FrameError::Slow {
                        deadline: self.deadline,
                    })??,
            };
            match (count, self.unfinished) {
                (0, 0) => return Ok(None),
                (0, _) => return Err(FrameError::Cut),
                _ => self.received(count),
            }
        }
    }

    fn received(&mut self, count: usize) {
        self.unfinished += count;
        self.began.get_or_insert_with(Instant::now);
    }

    /// Takes a finished frame out of what was received.
    fn take(&mut self) -> Result<Option<BytesMut>, FrameError> {
        let frame = self
            .codec
            .decode(&mut self.buffer)
            .map_err(|_| FrameError::TooLong)?;
        if let Some(json) = &frame {
            self.unfinished -= HEAD_BYTES + json.len();
            self.began = (self.unfinished > 0).then(Instant::now);
        }
        Ok(frame)
    }
}

fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(json).map_err(malformed)
}

fn malformed(error: serde_json::Error) -> FrameError {
    FrameError::Malformed {
        why: Clean::line(&error.to_string(), COMPLAINT_CHARS_MAX),
    }
}

/// Makes a frame, head included.
///
/// # Errors
/// [`FrameError::TooLong`], or [`FrameError::Malformed`] for what JSON cannot hold.
pub fn encode<T: Serialize>(frame: &T) -> Result<Bytes, FrameError> {
    let mut bytes = vec![0; HEAD_BYTES];
    serde_json::to_writer(&mut bytes, frame).map_err(malformed)?;
    let length = bytes.len() - HEAD_BYTES;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong);
    }
    let head = u32::try_from(length).map_err(|_| FrameError::TooLong)?;
    bytes[..HEAD_BYTES].copy_from_slice(&head.to_be_bytes());
    Ok(bytes.into())
}

/// Writes a frame made by [`encode`]. Not cancel-safe: half a frame may be out.
///
/// # Errors
/// [`FrameError::Slow`] when the peer does not take it within `deadline`, or the connection's
/// own failure.
pub async fn write<W: AsyncWrite + Unpin>(
    output: &mut W,
    frame: &[u8],
    deadline: Duration,
) -> Result<(), FrameError> {
    match timeout(deadline, output.write_all(frame)).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(FrameError::Slow { deadline }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    const DEADLINE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn frames_sent_byte_by_byte_arrive_whole_and_in_order() {
        let (mut ours, theirs) = duplex(1);
        let mut reader = FrameReader::new(theirs, DEADLINE);
        let writer = tokio::spawn(async move {
            for text in ["one", "two"] {
                for byte in encode(&text).expect("short") {
                    ours.write_all(&[byte]).await.expect("open");
                }
            }
        });
        let one: Option<String> = reader.next().await.expect("valid");
        let two: Option<String> = reader.next().await.expect("valid");
        let end: Option<String> = reader.next().await.expect("closed between frames");
        assert_eq!(
            (one.as_deref(), two.as_deref(), end),
            (Some("one"), Some("two"), None)
        );
        writer.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_frame_as_long_as_allowed_passes_and_one_byte_more_does_not() {
        let fits = "x".repeat(FRAME_BYTES_MAX - 2);
        let frame = encode(&fits).expect("exactly the limit");
        let mut reader = FrameReader::new(&frame[..], DEADLINE);
        assert_eq!(
            reader.next::<String>().await.expect("valid"),
            Some(fits.clone())
        );
        assert!(matches!(
            encode(&format!("{fits}x")),
            Err(FrameError::TooLong)
        ));
        let head = u32::try_from(FRAME_BYTES_MAX + 1).expect("small");
        let bytes = head.to_be_bytes();
        let mut reader = FrameReader::new(&bytes[..], DEADLINE);
        assert!(matches!(
            reader.next::<String>().await,
            Err(FrameError::TooLong)
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_begun_frame_has_a_deadline_although_bytes_trickle_in_and_silence_has_none() {
        let (mut ours, theirs) = duplex(64);
        let mut reader = FrameReader::new(theirs, DEADLINE);
        let silent = timeout(Duration::from_secs(3600), reader.next::<String>()).await;
        assert!(silent.is_err(), "an idle connection is not ended");
        let frame = encode(&"0123456789").expect("short");
        let trickle = async {
            for byte in frame {
                ours.write_all(&[byte]).await.expect("open");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let (result, ()) = tokio::join!(reader.next::<String>(), trickle);
        assert!(matches!(result, Err(FrameError::Slow { .. })), "{result:?}");
    }

    #[tokio::test]
    async fn a_connection_that_ends_within_a_frame_says_so() {
        let frame = encode(&"hello").expect("short");
        for length in 1..frame.len() {
            let mut reader = FrameReader::new(&frame[..length], DEADLINE);
            let result = reader.next::<String>().await;
            assert!(matches!(result, Err(FrameError::Cut)), "{length} bytes");
        }
    }

    #[tokio::test]
    async fn a_parsers_complaint_is_cleaned_and_cut() {
        #[derive(Debug, serde::Deserialize)]
        enum Known {}
        let frame = encode(&format!("\x1b[31m{}", "x".repeat(5_000))).expect("short");
        let mut reader = FrameReader::new(&frame[..], DEADLINE);
        let error = reader.next::<Known>().await.expect_err("unknown variant");
        let text = error.to_string();
        assert!(!text.contains('\x1b') && text.len() < 400, "{text}");
    }
}
