//! The header of a stream's lines: learnt from its lines, and cut from them.
//!
//! What comes in: lines of one stream. What goes out: for each line its level word, the code place in its header, and where
//! its message begins. What never happens here: a line dropped, or a header that is known beforehand.

use super::byte::{is_alnum, is_letter, is_level, is_level_letter, place_in, word_hash};
use super::column::{COLUMNS, Columns, Kind, ends_name, is_number, is_separator, is_time};
use super::snapshot::stored;
use crate::detect::held;

/// Share of the lines that must agree, in percent; of names and separators a little less, for they are left out at times.
const COVER: u32 = 95;
const COVER_LOOSE: u32 = 90;
/// Columns behind the last time or level that the header may still reach.
const BEHIND: usize = 6;
/// Forms of one stream's lines that have an own header, and lines of a form that one is learnt from.
const FORMS: usize = 6;
const FORM_LINES: u32 = 20;
/// Forms that are counted while learning.
const FORMS_SEEN: usize = 8;

/// The headers of one stream: one for all lines, or one for each form of their first two columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) all: Header,
    pub(super) forms: Vec<([u8; 2], Header)>,
}

/// The kinds of the columns that make up a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kinds: Vec<Kind>,
    /// Columns up to the last time or level: they do not shift.
    pub(super) strict: usize,
    /// Columns in which a code place was seen, as bits.
    pub(super) places: u16,
}

stored!(Headers { all, forms });
stored!(Header { kinds, strict, places });
stored!(Counts { seen, time, level, letter, bracket, separator, name, number, apart, place, marked, first, varied });
stored!(Form { lines, columns });
stored!(Learner { all, forms });

/// What was cut from a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cut<'a> {
    pub(super) level: Option<&'a [u8]>,
    /// Logger or program, without its process id.
    pub(super) name: Option<&'a [u8]>,
    pub(super) place: Option<&'a [u8]>,
    /// Where the message begins.
    pub(super) message: usize,
    /// Whether the line had the whole header.
    pub(super) fits: bool,
}

impl Headers {
    /// Cuts the header from a line.
    pub(super) fn cut<'a>(&self, line: &'a [u8]) -> Cut<'a> {
        let mut columns = Columns::new(line);
        if self.forms.is_empty() {
            return self.all.cut(&mut columns);
        }
        let form = columns.form();
        let header = self.forms.iter().find(|(of, _)| *of == form).map_or(&self.all, |(_, header)| header);
        header.cut(&mut columns)
    }

    /// Columns of the longest header.
    pub(super) fn columns(&self) -> usize {
        self.forms.iter().map(|(_, header)| header.kinds.len()).max().unwrap_or(0).max(self.all.kinds.len())
    }
}

impl Header {
    fn cut<'a>(&self, columns: &mut Columns<'a>) -> Cut<'a> {
        let mut cut = Cut::default();
        let (mut end, mut shift, mut fitted) = (0, 0, 0);
        for (at, kind) in self.kinds.iter().enumerate() {
            let Some((i, token)) = self.find(*kind, at + shift, columns) else { break };
            fitted = at + 1;
            if *kind == Kind::Separator {
                shift = i - at;
            }
            end = self.take(*kind, i, token, columns, &mut cut).unwrap_or(end);
            // Behind a name that ends the header, or is not where it should be, nothing is certain.
            if *kind == Kind::Name && (at >= self.strict || i != at + shift) {
                break;
            }
        }
        let named_last = self.kinds.get(fitted..).is_none_or(<[Kind]>::is_empty);
        cut.fits = named_last || (fitted > 0 && self.kinds.get(fitted - 1) == Some(&Kind::Name));
        if end > 0 {
            cut.message = columns.end(end - 1);
            if self.places != 0 {
                let places = (0..end).filter(|i| self.places >> (*i).min(15) & 1 == 1).rev();
                for i in places {
                    cut.place = columns.get(i).and_then(place_in);
                    if cut.place.is_some() {
                        break;
                    }
                }
            }
        }
        cut
    }

    /// The column that a kind of the header is found in, where it should be or close by.
    fn find<'a>(&self, kind: Kind, i: usize, columns: &mut Columns<'a>) -> Option<(usize, &'a [u8])> {
        let token = columns.get(i)?;
        if kind.fits(token) {
            return Some((i, token));
        }
        match kind {
            // The name may be a few columns off: `syslogd 1.4: ...`.
            Kind::Name => (i.saturating_sub(1).max(self.strict)..self.kinds.len() + 4)
                .find_map(|j| columns.get(j).filter(|token| token.last() == Some(&b':')).map(|token| (j, token))),
            // So may a separator: `name two - message`.
            Kind::Separator => {
                (i + 1..i + 3).find_map(|j| columns.get(j).filter(|token| is_separator(token)).map(|token| (j, token)))
            }
            _ => None,
        }
    }

    /// Takes what a column says. Returns how many columns the header has with it; a column that may be anything counts only
    /// when a later one fits.
    fn take<'a>(
        &self,
        kind: Kind,
        i: usize,
        token: &'a [u8],
        columns: &mut Columns<'a>,
        cut: &mut Cut<'a>,
    ) -> Option<usize> {
        let mut end = i + 1;
        match kind {
            Kind::Any => return None,
            Kind::Level => cut.level = Some(super::byte::strip(token, b"[]()<>:,|")),
            Kind::BareName if cut.name.is_none() => cut.name = Some(token),
            Kind::Name => {
                let name = super::byte::strip_end(token, b":");
                let bare = name.iter().position(|b| *b == b'[').filter(|at| *at > 0);
                cut.name = bare.and_then(|at| name.get(..at)).or(Some(name));
                // `launchd[1] (com.apple.x): ...`
                let detail = |next: &[u8]| next.first() == Some(&b'(') && next.last() == Some(&b':');
                if token.last() == Some(&b']') && columns.get(end).is_some_and(detail) {
                    end += 1;
                }
            }
            _ => {}
        }
        Some(end)
    }
}

/// What was seen in a column.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    seen: u32,
    time: u32,
    level: u32,
    letter: u32,
    bracket: u32,
    separator: u32,
    name: u32,
    number: u32,
    apart: u32,
    place: u32,
    /// A level that is not a lower-case bare word.
    marked: bool,
    first: u64,
    varied: bool,
}

/// What the text of one column may be; looked at once for all that count it.
#[derive(Clone, Copy, Default)]
struct Look {
    time: bool,
    level: bool,
    letter: bool,
    bracket: bool,
    separator: bool,
    name: bool,
    number: bool,
    apart: bool,
    place: bool,
    marked: bool,
    hash: u64,
}

impl Look {
    fn at(token: &[u8], apart: bool) -> Self {
        let level = is_level(token);
        Self {
            time: is_time(token),
            level,
            letter: is_level_letter(token),
            bracket: token.first() == Some(&b'[') && ends_name(token),
            separator: is_separator(token),
            name: token.len() > 1 && ends_name(token),
            number: is_number(token),
            apart: apart && token.first().is_some_and(|b| is_letter(*b)),
            place: place_in(token).is_some(),
            marked: level && token.iter().any(|b| b.is_ascii_uppercase() || !is_alnum(*b)),
            hash: word_hash(token),
        }
    }
}

impl Counts {
    fn add(&mut self, look: &Look) {
        self.seen = self.seen.saturating_add(1);
        self.time = self.time.saturating_add(look.time.into());
        self.level = self.level.saturating_add(look.level.into());
        self.letter = self.letter.saturating_add(look.letter.into());
        self.bracket = self.bracket.saturating_add(look.bracket.into());
        self.separator = self.separator.saturating_add(look.separator.into());
        self.name = self.name.saturating_add(look.name.into());
        self.number = self.number.saturating_add(look.number.into());
        self.apart = self.apart.saturating_add(look.apart.into());
        self.place = self.place.saturating_add(look.place.into());
        self.marked |= look.marked;
        self.varied |= self.first != 0 && self.first != look.hash;
        self.first = look.hash;
    }

    fn kind(&self, lines: u32) -> Kind {
        let part = |count: u32, cover: u32| u64::from(count) * 100 >= u64::from(cover) * u64::from(lines);
        let most = |count: u32| part(count, COVER);
        let many = |count: u32| part(count, COVER_LOOSE);
        match () {
            () if most(self.time) => Kind::Time,
            () if most(self.level) && (self.marked || self.varied) => Kind::Level,
            () if most(self.letter) => Kind::Level,
            () if most(self.bracket) => Kind::Bracket,
            () if many(self.separator) => Kind::Separator,
            () if many(self.name) && (self.varied || most(self.place)) => Kind::Name,
            () if most(self.number) => Kind::Number,
            () => Kind::Any,
        }
    }
}

/// Whether a column is set apart from the next by more than a blank: a `|`, a tab, or blanks that make a table.
fn is_apart(line: &[u8], end: usize) -> bool {
    match line.get(end) {
        Some(b'|' | b'\t') => true,
        Some(b' ') => line.get(end + 1).is_some_and(|b| matches!(b, b' ' | b'|')),
        _ => false,
    }
}

/// What was seen in the columns of lines of one form.
#[derive(Clone, Debug, Default)]
struct Form {
    lines: u32,
    columns: [Counts; COLUMNS],
}

impl Form {
    fn add(&mut self, looks: &[Look]) {
        self.lines = self.lines.saturating_add(1);
        self.columns.iter_mut().zip(looks).for_each(|(counts, look)| counts.add(look));
    }

    fn header(&self) -> Header {
        let whole = |counts: &&Counts| u64::from(counts.seen) * 100 >= u64::from(COVER) * u64::from(self.lines);
        let mut kinds: Vec<Kind> =
            self.columns.iter().take_while(whole).map(|counts| counts.kind(self.lines)).collect();
        let Some(last) = last_anchor(&kinds) else { return Header::default() };
        let end = self.extend(&mut kinds, last);
        kinds.truncate(end);
        let bits = self.columns.iter().enumerate().filter(|(_, counts)| counts.place > 0);
        let places = bits.fold(0, |places, (i, _)| places | 1 << i);
        Header { kinds, strict: last + 1, places }
    }

    /// After the last time or level: separators, brackets, numbers, one name. Returns the end of the header.
    fn extend(&self, kinds: &mut [Kind], last: usize) -> usize {
        let mut i = last + 1;
        let mut named = kinds.iter().take(i).any(|kind| *kind == Kind::Name);
        let mut bare = false;
        while let Some(kind) = kinds.get(i).copied().filter(|_| i - last <= BEHIND) {
            match kind {
                Kind::Separator | Kind::Bracket | Kind::Number => i += 1,
                Kind::Name if !named => {
                    i += 1;
                    named = true;
                }
                Kind::Any if !named => {
                    let apart = self.columns.get(i).is_some_and(|counts| counts.apart * 100 >= COVER * self.lines);
                    let at = i;
                    match kinds.get(i + 1) {
                        Some(Kind::Separator | Kind::Bracket) => i += 2,
                        Some(Kind::Name) => i += 1,
                        Some(_) if apart && !bare => (i, bare) = (i + 1, true),
                        _ => break,
                    }
                    if let Some(kind) = kinds.get_mut(at) {
                        *kind = Kind::BareName;
                    }
                }
                _ => break,
            }
        }
        i.min(kinds.len())
    }
}

/// The last time or level that is near the one before. The gaps keep `INFO started at 12:00:01` out of the header.
fn last_anchor(kinds: &[Kind]) -> Option<usize> {
    let (mut last, mut gap, mut level) = (None, 0, false);
    for (i, kind) in kinds.iter().enumerate() {
        match kind {
            Kind::Level if (level && gap > 0) || gap > 3 => break,
            Kind::Time
                if gap
                    > (if level {
                        0
                    } else if last.is_none() {
                        3
                    } else {
                        2
                    }) =>
            {
                break;
            }
            Kind::Level | Kind::Time => {
                level |= *kind == Kind::Level;
                (last, gap) = (Some(i), 0);
            }
            _ => gap += i32::from(matches!(kind, Kind::Any | Kind::Name)),
        }
    }
    last
}

/// Learns the headers of a stream, a line at a time, in bounded memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Learner {
    all: Form,
    forms: Vec<([u8; 2], Form)>,
}

impl Learner {
    /// Bytes that it holds besides itself.
    pub(super) fn held(&self) -> usize {
        held::list::<([u8; 2], Form)>(self.forms.len())
    }

    pub(super) fn lines(&self) -> u32 {
        self.all.lines
    }

    pub(super) fn add(&mut self, line: &[u8]) {
        let mut columns = Columns::new(line);
        if columns.get(0).is_none() {
            return;
        }
        let mut looks = [Look::default(); COLUMNS];
        let mut seen = 0;
        for (i, look) in looks.iter_mut().enumerate() {
            let Some(token) = columns.get(i) else { break };
            *look = Look::at(token, is_apart(line, columns.end(i)));
            seen = i + 1;
        }
        let looks = looks.get(..seen).unwrap_or_default();
        self.all.add(looks);
        let form = columns.form();
        let known = self.forms.iter().position(|(of, _)| *of == form);
        let at = known.unwrap_or(self.forms.len());
        if known.is_none() && at < FORMS_SEEN {
            self.forms.push((form, Form::default()));
        }
        if let Some((_, counts)) = self.forms.get_mut(at) {
            counts.add(looks);
        }
    }

    /// The headers so far: one for each form only if together they explain at least half a column more than one for all.
    pub(super) fn headers(&self) -> Headers {
        let all = self.all.header();
        let mut forms: Vec<&([u8; 2], Form)> = self.forms.iter().filter(|(_, form)| form.lines >= FORM_LINES).collect();
        forms.sort_by_key(|(_, form)| std::cmp::Reverse(form.lines));
        forms.truncate(FORMS);
        let forms: Vec<_> = forms.iter().map(|(of, form)| (form.lines, *of, form.header())).collect();
        let lines: usize = forms.iter().map(|(lines, ..)| *lines as usize).sum();
        let columns: usize = forms.iter().map(|(lines, _, header)| header.kinds.len() * *lines as usize).sum();
        let single = forms.is_empty() || 2 * columns <= (2 * all.kinds.len() + 1) * lines;
        let forms = if single { Vec::new() } else { forms.into_iter().map(|(_, of, header)| (of, header)).collect() };
        Headers { all, forms }
    }
}
