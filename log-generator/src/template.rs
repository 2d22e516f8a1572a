//! Lines with variable parts: read once from text with `{names}`, then written many times without allocating.
//!
//! What comes in: the text of a line and an event. What goes out: bytes appended to the caller's buffer. Parts that
//! belong to a request (trace, user, order) follow from the request's number, so all its lines agree; all other parts
//! follow from the line's own number.

use crate::rng::{Rng, mix};
use crate::stamp::Stamp;
use crate::word;

/// One line that will be written, in the shortest form: 40 bytes, sorted by time and number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// Nanoseconds since the Unix epoch.
    pub(crate) ts: i64,
    /// The request's number; trace id and user follow from it.
    pub(crate) flow: u64,
    /// The line's number in the order of drawing; breaks ties, seeds the line's own parts.
    pub(crate) seq: u64,
    /// Microseconds that the request took so far, or a gauge in percent.
    pub(crate) span: u32,
    /// Index of the line in the shop.
    pub(crate) line: u16,
    /// Index of the fault whose visible line this is, or [`NO_FAULT`].
    pub(crate) fault: u16,
    /// Durations times sixteen: 16 is ordinary.
    pub(crate) slow: u16,
    /// Which of the service's pods.
    pub(crate) pod: u8,
    /// Whether amounts and quantities are impossible.
    pub(crate) odd: bool,
}

/// No fault made this line.
pub(crate) const NO_FAULT: u16 = u16::MAX;
/// [`Event::slow`] of an ordinary line.
pub(crate) const ORDINARY: u16 = 16;

/// A variable part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    /// `2026-03-02T08:00:00.123456Z`
    Iso,
    /// `2026-03-02 08:00:00,123` with the given sign before the milliseconds.
    Local(u8),
    /// `02/Mar/2026:08:00:00 +0000`
    Clf,
    /// `Mar  2 08:00:00`
    Syslog,
    /// `2026/03/02 08:00:00`
    Slashed,
    Pod,
    Trace,
    ShortTrace,
    User,
    Email,
    Ip,
    Order,
    Sku,
    Cart,
    Session,
    /// Number of the thread that serves the request.
    Thread,
    /// What a customer searches for.
    Term,
    Amount,
    Quantity,
    /// Log-normal milliseconds around the median.
    Millis(u32),
    /// Seconds with three places that the request took.
    Elapsed,
    /// The event's gauge, in percent.
    Gauge,
    Int(u32, u32),
    Hex,
    Uuid,
    /// Addresses of an attacker: few, and outside those of users.
    Attacker,
    Word(&'static [&'static str]),
}

#[derive(Clone, Debug)]
enum Op {
    Text(Box<[u8]>),
    Part(Part),
}

/// A line ready to be written.
#[derive(Clone, Debug)]
pub(crate) struct Template(Box<[Op]>);

impl Template {
    /// Reads `text`; a name that is not known stays as text and is returned as the second part.
    pub(crate) fn read(text: &str) -> (Self, Vec<String>) {
        let mut ops: Vec<Op> = Vec::new();
        let mut unknown = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let (before, after) = rest.split_at(open);
            literal.push_str(before);
            let name = after[1..].split('}').next().unwrap_or("");
            let is_name = after.len() > name.len() + 1 && !name.contains(['"', ' ', '{']) && !name.is_empty();
            match (is_name, part(name)) {
                (true, Some(part)) => {
                    if !literal.is_empty() {
                        ops.push(Op::Text(std::mem::take(&mut literal).into_bytes().into()));
                    }
                    ops.push(Op::Part(part));
                    rest = &after[name.len() + 2..];
                }
                (known, _) => {
                    if known {
                        unknown.push(name.to_owned());
                    }
                    literal.push('{');
                    rest = &after[1..];
                }
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            ops.push(Op::Text(literal.into_bytes().into()));
        }
        (Self(ops.into()), unknown)
    }

    /// Whether any part satisfies `test`.
    pub(crate) fn has(&self, test: impl Fn(Part) -> bool) -> bool {
        self.0.iter().any(|op| matches!(op, Op::Part(part) if test(*part)))
    }

    /// Appends the line of `event` to `out`; `pod` is the pod's name.
    #[inline]
    pub(crate) fn write(&self, event: &Event, pod: &str, stamp: &mut Stamp, out: &mut Vec<u8>) {
        let mut ink = Ink { event, pod, stamp, rng: Rng::new(event.seq, event.flow), out };
        for op in &self.0 {
            match op {
                Op::Text(text) => ink.out.extend_from_slice(text),
                Op::Part(part) => ink.part(*part),
            }
        }
    }
}

fn part(name: &str) -> Option<Part> {
    let (name, argument) = name.split_once(':').unwrap_or((name, ""));
    Some(match name {
        "iso" => Part::Iso,
        "comma" => Part::Local(b','),
        "dot" => Part::Local(b'.'),
        "clf" => Part::Clf,
        "syslog" => Part::Syslog,
        "slashed" => Part::Slashed,
        "pod" => Part::Pod,
        "trace" => Part::Trace,
        "shorttrace" => Part::ShortTrace,
        "user" => Part::User,
        "email" => Part::Email,
        "ip" => Part::Ip,
        "order" => Part::Order,
        "sku" => Part::Sku,
        "cart" => Part::Cart,
        "session" => Part::Session,
        "thread" => Part::Thread,
        "term" => Part::Term,
        "amount" => Part::Amount,
        "qty" => Part::Quantity,
        "ms" => Part::Millis(argument.parse().ok()?),
        "elapsed" => Part::Elapsed,
        "gauge" => Part::Gauge,
        "int" => {
            let (low, high) = argument.split_once('-')?;
            Part::Int(low.parse().ok()?, high.parse().ok()?)
        }
        "hex" => Part::Hex,
        "uuid" => Part::Uuid,
        "attacker" => Part::Attacker,
        name => Part::Word(word::list(name)?),
    })
}

struct Ink<'a> {
    event: &'a Event,
    pod: &'a str,
    stamp: &'a mut Stamp,
    rng: Rng,
    out: &'a mut Vec<u8>,
}

impl Ink<'_> {
    #[inline]
    fn part(&mut self, part: Part) {
        match part {
            Part::Iso | Part::Local(_) | Part::Clf | Part::Syslog | Part::Slashed => self.time(part),
            Part::Pod => self.out.extend_from_slice(self.pod.as_bytes()),
            Part::Trace => {
                hex(self.out, mix(self.event.flow));
                hex(self.out, mix(self.event.flow ^ 1));
            }
            Part::ShortTrace => hex(self.out, mix(self.event.flow)),
            Part::Hex => hex(self.out, self.rng.next()),
            Part::Uuid => self.uuid(),
            Part::Millis(median) => self.millis(median),
            Part::Elapsed => {
                number(self.out, u64::from(self.event.span / 1_000_000));
                self.out.push(b'.');
                padded(self.out, self.event.span / 1000 % 1000, 3);
            }
            Part::Gauge => number(self.out, u64::from(self.event.span)),
            Part::Int(low, high) => {
                let value = self.rng.within(u64::from(low), u64::from(high));
                number(self.out, value);
            }
            Part::Word(list) => {
                let text = self.rng.pick(list).copied().unwrap_or("");
                self.out.extend_from_slice(text.as_bytes());
            }
            Part::Attacker => {
                self.out.extend_from_slice(b"203.0.113.");
                number(self.out, 8 + self.event.flow % 5);
            }
            part => self.of_request(part),
        }
    }

    fn time(&mut self, part: Part) {
        self.stamp.set(self.event.ts.div_euclid(1_000_000_000));
        let nanos = self.event.ts.rem_euclid(1_000_000_000) as u32;
        let (stamp, out) = (&*self.stamp, &mut *self.out);
        match part {
            Part::Iso => {
                out.extend_from_slice(&stamp.date);
                out.push(b'T');
                out.extend_from_slice(&stamp.clock);
                out.push(b'.');
                padded(out, nanos / 1000, 6);
                out.push(b'Z');
            }
            Part::Local(sign) => {
                out.extend_from_slice(&stamp.date);
                out.push(b' ');
                out.extend_from_slice(&stamp.clock);
                out.push(sign);
                padded(out, nanos / 1_000_000, 3);
            }
            Part::Clf => {
                out.extend_from_slice(&stamp.clf);
                out.push(b':');
                out.extend_from_slice(&stamp.clock);
                out.extend_from_slice(b" +0000");
            }
            Part::Slashed => {
                out.extend_from_slice(&stamp.date);
                let at = out.len() - 10;
                out[at + 4] = b'/';
                out[at + 7] = b'/';
                out.push(b' ');
                out.extend_from_slice(&stamp.clock);
            }
            _ => {
                out.extend_from_slice(&stamp.syslog);
                out.push(b' ');
                out.extend_from_slice(&stamp.clock);
            }
        }
    }

    /// What all lines of one request share. Users are skewed: a few come often.
    fn of_request(&mut self, part: Part) {
        let flow = self.event.flow;
        let user = {
            let draw = mix(flow ^ 2) >> 48;
            10_000 + draw * draw / 107_374
        };
        let out = &mut *self.out;
        match part {
            Part::User => {
                out.extend_from_slice(b"u-");
                number(out, user);
            }
            Part::Email => {
                out.extend_from_slice(word::NAMES[(user % word::NAMES.len() as u64) as usize].as_bytes());
                number(out, user % 97);
                out.push(b'@');
                out.extend_from_slice(word::DOMAINS[(user / 7 % word::DOMAINS.len() as u64) as usize].as_bytes());
            }
            Part::Ip => {
                let at = mix(user);
                number(out, [10, 31, 77, 84, 91, 109, 145, 178][(at & 7) as usize]);
                for shift in [8, 16, 24] {
                    out.push(b'.');
                    number(out, at >> shift & 0xff);
                }
            }
            Part::Order => {
                out.extend_from_slice(b"ORD-");
                number(out, 1_000_000 + mix(flow ^ 3) % 9_000_000);
            }
            Part::Cart => hex(&mut *out, mix(flow ^ 5)),
            Part::Session => hex(&mut *out, mix(user ^ flow >> 60)),
            Part::Sku => {
                let draw = mix(flow ^ 6) >> 48;
                out.extend_from_slice(b"SKU-");
                number(out, 20_000 + draw * draw / 2_147_483);
            }
            Part::Thread => number(out, 1 + mix(flow ^ 12) % 10),
            Part::Term => {
                let term = word::TERMS[(mix(flow ^ 11) % word::TERMS.len() as u64) as usize];
                out.extend_from_slice(term.as_bytes());
            }
            Part::Amount if self.event.odd => out.extend_from_slice(b"-99999999.00"),
            Part::Amount => {
                let cents = mix(flow ^ 7);
                number(out, 3 + (cents & 0x3f) * (cents >> 8 & 0xf));
                out.push(b'.');
                padded(out, (cents >> 32) as u32 % 100, 2);
            }
            Part::Quantity if self.event.odd => out.extend_from_slice(b"-2147483648"),
            Part::Quantity => number(out, 1 + (mix(flow ^ 8) & 1) + (mix(flow ^ 8) >> 1 & 3) / 3 * 2),
            _ => {}
        }
    }

    fn millis(&mut self, median: u32) {
        let ms = self.rng.log_normal(f64::from(median), 0.45) * f64::from(self.event.slow) / f64::from(ORDINARY);
        number(self.out, (ms + 0.5).max(1.0) as u64);
    }

    fn uuid(&mut self) {
        let mut text = [0u8; 32];
        let (high, low) = (self.rng.next(), self.rng.next());
        hex_into(&mut text[..16], high);
        hex_into(&mut text[16..], low);
        text[12] = b'4';
        for (index, range) in [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)].into_iter().enumerate() {
            if index > 0 {
                self.out.push(b'-');
            }
            self.out.extend_from_slice(&text[range.0..range.1]);
        }
    }
}

const PAIRS: [u8; 200] = pairs();

const fn pairs() -> [u8; 200] {
    let mut table = [0; 200];
    let mut i = 0;
    while i < 100 {
        table[i * 2] = b'0' + (i / 10) as u8;
        table[i * 2 + 1] = b'0' + (i % 10) as u8;
        i += 1;
    }
    table
}

/// Appends `value` in decimal.
#[inline]
pub(crate) fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut text = [0u8; 20];
    let mut at = 20;
    while value >= 100 {
        let pair = (value % 100) as usize * 2;
        value /= 100;
        at -= 2;
        text[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if value >= 10 {
        at -= 2;
        text[at..at + 2].copy_from_slice(&PAIRS[value as usize * 2..value as usize * 2 + 2]);
    } else {
        at -= 1;
        text[at] = b'0' + value as u8;
    }
    out.extend_from_slice(&text[at..]);
}

/// Appends the last `width` (at most 6) digits of `value`, with leading zeros.
#[inline]
fn padded(out: &mut Vec<u8>, mut value: u32, width: usize) {
    let mut text = [b'0'; 6];
    for place in text[..width].iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&text[..width]);
}

#[inline]
fn hex(out: &mut Vec<u8>, value: u64) {
    let mut text = [0u8; 16];
    hex_into(&mut text, value);
    out.extend_from_slice(&text);
}

#[inline]
fn hex_into(text: &mut [u8], value: u64) {
    for (place, shift) in text.iter_mut().zip((0..16).rev()) {
        *place = b"0123456789abcdef"[(value >> (shift * 4) & 0xf) as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            ts: 1_772_438_400_123_456_000,
            flow: 77,
            seq: 1,
            span: 1_234_567,
            line: 0,
            fault: NO_FAULT,
            slow: ORDINARY,
            pod: 0,
            odd: false,
        }
    }

    fn text(template: &str, event: &Event) -> String {
        let mut out = Vec::new();
        Template::read(template).0.write(event, "cart-1", &mut Stamp::new(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn parts_have_their_form() {
        for (template, expected) in [
            ("{iso}", "2026-03-02T08:00:00.123456Z"),
            ("{comma}|{dot}", "2026-03-02 08:00:00,123|2026-03-02 08:00:00.123"),
            ("[{clf}]", "[02/Mar/2026:08:00:00 +0000]"),
            ("{syslog} {slashed}", "Mar  2 08:00:00 2026/03/02 08:00:00"),
            ("{elapsed} {gauge}", "1.234 1234567"),
            ("{\"a\":{int:5-5}}", "{\"a\":5}"),
            ("{pod} {nothing}", "cart-1 {nothing}"),
        ] {
            assert_eq!(text(template, &event()), expected);
        }
        assert_eq!(Template::read("{nothing} {\"x\"}").1, ["nothing"]);
    }

    #[test]
    fn parts_of_a_request_agree_over_its_lines() {
        let other = Event { seq: 2, ..event() };
        for part in ["{trace}", "{user}", "{ip}", "{order}", "{sku}", "{email}", "{session}", "{amount}"] {
            assert_eq!(text(part, &event()), text(part, &other), "{part}");
        }
        assert_ne!(text("{hex}", &event()), text("{hex}", &other));
    }

    #[test]
    fn odd_and_slow_show() {
        assert_eq!(text("{amount} {qty}", &Event { odd: true, ..event() }), "-99999999.00 -2147483648");
        let ms = |slow| text("{ms:100}", &Event { slow, ..event() }).parse::<f64>().unwrap();
        assert!((ms(160) / ms(16) - 10.0).abs() < 0.2);
    }

    #[test]
    fn numbers_are_written_right() {
        for value in [0, 9, 10, 99, 100, 12_345, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }
}
