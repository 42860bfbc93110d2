//! Defaults of fields that came after the first records, and when they need not be written. Must not
//! know the types they belong to.

pub(super) fn yes() -> bool {
    true
}

pub(super) fn is_yes(flag: &bool) -> bool {
    *flag
}

pub(super) fn one() -> u32 {
    1
}

pub(super) fn is_one(count: &u32) -> bool {
    *count == 1
}

pub(super) fn is_zero(ms: &u64) -> bool {
    *ms == 0
}
