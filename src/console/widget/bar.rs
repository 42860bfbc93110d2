//! Bars and sparklines as text.

use crate::console::theme::Symbols;

/// A bar of `width` cells filled to a ratio (0–1). Anything above nothing shows one cell, and
/// only all of it fills the last one.
pub fn bar(symbols: &Symbols, ratio: f64, width: usize) -> [String; 2] {
    let ratio = if ratio.is_finite() {
        ratio.clamp(0.0, 1.0)
    } else {
        0.0
    };
    let cells = (ratio * width as f64).round() as usize;
    let filled = match ratio {
        0.0 => 0,
        1.0 => width,
        _ => cells.clamp(1.min(width), width.saturating_sub(1).max(1.min(width))),
    };
    [
        symbols.bar[0].repeat(filled),
        symbols.bar[1].repeat(width - filled),
    ]
}

/// The newest values as one row of cells from 0 to `top`; a gap stays empty.
pub fn sparkline(symbols: &Symbols, values: &[Option<f64>], top: f64, width: usize) -> String {
    let newest = &values[values.len().saturating_sub(width)..];
    let levels = symbols.levels;
    let cell = |value: &Option<f64>| match value {
        None => " ",
        Some(value) => {
            let ratio = if top > 0.0 {
                (value / top).clamp(0.0, 1.0)
            } else {
                0.0
            };
            levels[(ratio * (levels.len() - 1) as f64).round() as usize]
        }
    };
    let padding = " ".repeat(width - newest.len());
    padding + &newest.iter().map(cell).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_shows_and_nearly_all_is_not_all() {
        let filled = |ratio| bar(&Symbols::ASCII, ratio, 10)[0].len();
        assert_eq!(filled(0.0), 0);
        assert_eq!(filled(0.001), 1);
        assert_eq!(filled(0.25), 3);
        assert_eq!(filled(0.999), 9);
        assert_eq!(filled(1.0), 10);
        assert_eq!(filled(f64::NAN), 0);
        assert_eq!(bar(&Symbols::ASCII, 0.5, 0), ["", ""]);
    }

    #[test]
    fn gaps_are_gaps_and_zero_is_not_one() {
        let values = [Some(0.0), None, Some(2.0)];
        assert_eq!(sparkline(&Symbols::ASCII, &values, 2.0, 4), " _ #");
        assert_eq!(sparkline(&Symbols::ASCII, &values, 2.0, 1), "#");
    }
}
