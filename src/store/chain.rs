//! Documents that are written with nearly every step and change little: one whole text, and what changed since.
//!
//! What comes in: the newest text of a document. What goes out: one row; the text as the rows have it. Each row names the
//! checksums of the text before and after it, so a row is only ever put behind the text that it was made for, whoever wrote that.
//! What never happens here: a text that is not exactly the one that was handed in; rows that do not lead to it are left aside.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::link::{Link, Row, Statement};
use super::patch::{apply, diff};
use crate::labels::{FNV_OFFSET, fnv1a};

/// Rows behind a whole text, and how many times its bytes they may take, before it is written whole again.
const MOST: i64 = 120;
const TIMES: usize = 2;

pub(super) const DROP: &str = "DELETE FROM chains WHERE tenant = $1 AND watch = $2 AND document = $3";
pub(super) const WHOLE: &str =
    "INSERT INTO chains (tenant, watch, document, number, checksum, bytes) VALUES ($1, $2, $3, 0, $4, $5)";
/// Behind the text that it was made for, and nowhere else. The same row twice is one.
pub(super) const LINK: &str = "
    INSERT INTO chains (tenant, watch, document, number, checksum, bytes)
    SELECT $1, $2, $3, $4, $5, $6 FROM chains
    WHERE tenant = $1 AND watch = $2 AND document = $3 AND number = $7 AND checksum = $8
    ON CONFLICT (tenant, watch, document, number) DO UPDATE SET checksum = excluded.checksum, bytes = excluded.bytes";

/// Which document of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Document {
    Carry,
    Patterns,
}

impl Document {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Carry => "carry",
            Self::Patterns => "patterns",
        }
    }
}

/// A text that was written, and where it stands.
#[derive(Clone, Debug)]
struct Known {
    /// The text, packed: it is kept for as long as the watch is read.
    packed: Vec<u8>,
    /// Its bytes, unpacked.
    length: usize,
    checksum: i64,
    number: i64,
    /// Bytes of the whole text, and of all rows behind it.
    whole: usize,
    behind: usize,
}

/// What this process wrote last of each document.
#[derive(Debug, Default)]
pub(super) struct Chains(Mutex<BTreeMap<(String, Document), Known>>);

/// What a transaction wrote; it counts once that is committed.
#[derive(Debug, Default)]
pub(super) struct Written(Vec<((String, Document), Known)>);

impl Chains {
    /// Writes a document: what changed where that is enough, else all of it.
    pub(super) async fn write(
        &self,
        tx: &mut Link,
        (watch, document): (&str, Document),
        text: &[u8],
        written: &mut Written,
    ) -> Result<(), sqlx::Error> {
        let key = (watch.to_owned(), document);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let checksum = checksum(text);
        let rows = |sql| Statement::of(sql).bind(watch).bind(document.name());
        if let Some(known) = known.filter(|known| known.number < MOST && known.behind < TIMES * known.whole)
            && let Some(old) = unpacked_of(&known.packed, known.length)
        {
            let bytes = packed(&diff(&old, text));
            let number = known.number + 1;
            let behind = known.behind + bytes.len();
            let row = rows(LINK).bind(number).bind(checksum).bind(bytes).bind(known.number).bind(known.checksum);
            if tx.run(row).await? > 0 {
                written
                    .0
                    .push((key, Known { packed: packed(text), length: text.len(), checksum, number, behind, ..known }));
                return Ok(());
            }
        }
        let whole = packed(text);
        tx.run(rows(DROP)).await?;
        tx.run(rows(WHOLE).bind(checksum).bind(whole.clone())).await?;
        let known = Known { whole: whole.len(), packed: whole, length: text.len(), checksum, number: 0, behind: 0 };
        written.0.push((key, known));
        Ok(())
    }

    /// What was written is committed.
    pub(super) fn keep(&self, written: Written) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(written.0);
    }
}

/// A row: its number, the checksum of the text with it, and its bytes.
pub(super) type Stored = (i64, i64, Vec<u8>);

/// A row that is there.
pub(super) fn row(row: &Row) -> Result<Stored, sqlx::Error> {
    Ok((row.get("number")?, row.get("checksum")?, row.get("bytes")?))
}

/// The text that rows lead to; `None` when there is none, or they are damaged: then it is learnt anew.
pub(super) fn text(rows: Vec<Stored>) -> Option<Vec<u8>> {
    let mut text: Option<Vec<u8>> = None;
    for (expected, (number, checksum_of, bytes)) in (0..).zip(rows) {
        let bytes = unpacked(&bytes)?;
        let next = match &text {
            None => bytes,
            Some(text) => apply(text, &bytes)?,
        };
        if number != expected || checksum(&next) != checksum_of {
            return None;
        }
        text = Some(next);
    }
    text
}

fn checksum(text: &[u8]) -> i64 {
    let length = fnv1a(FNV_OFFSET, &text.len().to_le_bytes());
    let (words, rest) = text.as_chunks::<8>();
    let mix = |sum: u64, word: u64| (sum.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let sum = words.iter().fold(length, |sum, word| mix(sum, u64::from_le_bytes(*word)));
    let sum = rest.iter().fold(sum, |sum, byte| mix(sum, u64::from(*byte)));
    (sum ^ (sum >> 29)).cast_signed()
}

/// Packed as zlib: a fifth to a tenth of the size.
pub(super) fn packed(bytes: &[u8]) -> Vec<u8> {
    let room = Vec::with_capacity(bytes.len() / 4 + 64);
    let mut out = flate2::write::ZlibEncoder::new(room, flate2::Compression::fast());
    // Writing to memory cannot fail; were it to, the watch would learn its templates anew.
    if std::io::Write::write_all(&mut out, bytes).is_err() {
        return Vec::new();
    }
    out.finish().unwrap_or_default()
}

/// What was packed; `None` when it is damaged.
pub(super) fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    unpacked_of(bytes, 0)
}

/// The same of a text of which it is known how long it is, about.
fn unpacked_of(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    // Its end is found by asking for more.
    let mut out = Vec::with_capacity(length + 64);
    std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(bytes), &mut out).ok()?;
    Some(out)
}
