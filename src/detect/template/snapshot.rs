//! A miner as bytes, and back.
//!
//! What comes in: the parts of a miner, or bytes of an earlier one. What goes out: bytes with a version, or parts that go on
//! exactly as those before. What never happens here: a panic on bytes that are not ours, or trust in a length they name.

/// The layout of the bytes. Bytes of another layout are not read: templates are then learnt anew.
pub(super) const VERSION: u8 = 1;

/// Something that can be stored.
pub(super) trait Stored: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(from: &mut Bytes<'_>) -> Option<Self>;
}

/// Bytes that are read from the front.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
}

impl Stored for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn take(from: &mut Bytes<'_>) -> Option<Self> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = from.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

impl Stored for i64 {
    fn put(&self, out: &mut Vec<u8>) {
        (((self << 1) ^ (self >> 63)) as u64).put(out);
    }

    fn take(from: &mut Bytes<'_>) -> Option<Self> {
        let value = u64::take(from)?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

impl Stored for u128 {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u64).put(out);
        ((*self >> 64) as u64).put(out);
    }

    fn take(from: &mut Bytes<'_>) -> Option<Self> {
        let low = u64::take(from)?;
        Some(Self::from(low) | Self::from(u64::take(from)?) << 64)
    }
}

impl Stored for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn take(from: &mut Bytes<'_>) -> Option<Self> {
        from.byte()
    }
}

macro_rules! small {
    ($($kind:ty),*) => {$(
        impl Stored for $kind {
            fn put(&self, out: &mut Vec<u8>) {
                (*self as u64).put(out);
            }

            fn take(from: &mut Bytes<'_>) -> Option<Self> {
                Self::try_from(u64::take(from)?).ok()
            }
        }
    )*};
}
small!(u16, u32, usize);

impl Stored for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(from: &mut Bytes<'_>) -> Option<Self> {
        from.byte().map(|byte| byte != 0)
    }
}

impl Stored for String {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(from: &mut Bytes<'_>) -> Option<Self> {
        let length = usize::take(from)?;
        let (text, rest) = from.0.split_at_checked(length)?;
        from.0 = rest;
        Self::from_utf8(text.to_vec()).ok()
    }
}

impl Stored for Box<str> {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(from: &mut Bytes<'_>) -> Option<Self> {
        String::take(from).map(Into::into)
    }
}

impl<T: Stored> Stored for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        self.iter().for_each(|value| value.put(out));
    }

    fn take(from: &mut Bytes<'_>) -> Option<Self> {
        let length = usize::take(from)?;
        // A value has at least one byte.
        if length > from.0.len() {
            return None;
        }
        (0..length).map(|_| T::take(from)).collect()
    }
}

impl<T: Stored> Stored for Box<[T]> {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        self.iter().for_each(|value| value.put(out));
    }

    fn take(from: &mut Bytes<'_>) -> Option<Self> {
        Vec::take(from).map(Into::into)
    }
}

impl<T: Stored> Stored for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        self.iter().for_each(|value| value.put(out));
    }

    fn take(from: &mut Bytes<'_>) -> Option<Self> {
        if bool::take(from)? { T::take(from).map(Some) } else { Some(None) }
    }
}

impl<T: Stored> Stored for Box<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }

    fn take(from: &mut Bytes<'_>) -> Option<Self> {
        T::take(from).map(Self::new)
    }
}

impl<T: Stored + Copy + Default, const N: usize> Stored for [T; N] {
    fn put(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|value| value.put(out));
    }

    fn take(from: &mut Bytes<'_>) -> Option<Self> {
        let mut values = [T::default(); N];
        for value in &mut values {
            *value = T::take(from)?;
        }
        Some(values)
    }
}

impl<A: Stored, B: Stored> Stored for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(from: &mut Bytes<'_>) -> Option<Self> {
        Some((A::take(from)?, B::take(from)?))
    }
}

impl<A: Stored, B: Stored, C: Stored> Stored for (A, B, C) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
        self.2.put(out);
    }

    fn take(from: &mut Bytes<'_>) -> Option<Self> {
        Some((A::take(from)?, B::take(from)?, C::take(from)?))
    }
}

/// A struct is stored field by field.
macro_rules! stored {
    ($name:ty { $($field:ident),* $(,)? }) => {
        impl $crate::detect::template::snapshot::Stored for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::detect::template::snapshot::Stored::put(&self.$field, out);)*
            }

            fn take(from: &mut $crate::detect::template::snapshot::Bytes<'_>) -> Option<Self> {
                Some(Self { $($field: $crate::detect::template::snapshot::Stored::take(from)?,)* })
            }
        }
    };
}

/// An enum without fields is stored as its place in a list.
macro_rules! stored_enum {
    ($name:ty [ $($variant:ident),* $(,)? ]) => {
        impl $crate::detect::template::snapshot::Stored for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let all = [$(Self::$variant),*];
                out.push(all.iter().position(|one| one == self).unwrap_or(0) as u8);
            }

            fn take(from: &mut $crate::detect::template::snapshot::Bytes<'_>) -> Option<Self> {
                let all = [$(Self::$variant),*];
                let at = <u8 as $crate::detect::template::snapshot::Stored>::take(from)?;
                all.into_iter().nth(usize::from(at))
            }
        }
    };
}

pub(super) use {stored, stored_enum};
