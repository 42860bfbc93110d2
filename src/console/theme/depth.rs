//! How many colours a terminal shows, and the nearest ones it has.

use ratatui::style::Color;

/// How many colours there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Any.
    True,
    /// 256.
    Colours256,
    /// The terminal's own sixteen.
    Colours16,
    /// None: attributes only.
    None,
}

/// The sixteen, as most terminals show them.
const SIXTEEN: [(Color, [u8; 3]); 16] = [
    (Color::Black, [0, 0, 0]),
    (Color::Red, [205, 49, 49]),
    (Color::Green, [13, 188, 121]),
    (Color::Yellow, [229, 229, 16]),
    (Color::Blue, [36, 114, 200]),
    (Color::Magenta, [188, 63, 188]),
    (Color::Cyan, [17, 168, 205]),
    (Color::Gray, [204, 204, 204]),
    (Color::DarkGray, [102, 102, 102]),
    (Color::LightRed, [241, 76, 76]),
    (Color::LightGreen, [35, 209, 139]),
    (Color::LightYellow, [245, 245, 67]),
    (Color::LightBlue, [59, 142, 234]),
    (Color::LightMagenta, [214, 112, 214]),
    (Color::LightCyan, [41, 184, 219]),
    (Color::White, [255, 255, 255]),
];

/// The six levels of the 256 colours' cube.
const CUBE: [u8; 6] = [0, 95, 135, 175, 215, 255];

impl Depth {
    /// The nearest colour this depth has.
    pub(super) fn reduce(self, colour: Color) -> Color {
        match (self, colour) {
            (Self::None, _) => Color::Reset,
            (Self::Colours256, Color::Rgb(r, g, b)) => Color::Indexed(indexed([r, g, b])),
            (Self::Colours16, Color::Rgb(r, g, b)) => sixteenth([r, g, b]),
            (Self::Colours16, Color::Indexed(index)) => sixteenth(rgb_of(index)),
            (_, colour) => colour,
        }
    }
}

fn distance(a: [u8; 3], b: [u8; 3]) -> u32 {
    let square = |i: usize| u32::from(a[i].abs_diff(b[i])).pow(2);
    // Eyes tell greens apart best and blues worst.
    3 * square(0) + 4 * square(1) + 2 * square(2)
}

fn sixteenth(rgb: [u8; 3]) -> Color {
    let nearest = SIXTEEN
        .iter()
        .min_by_key(|(_, other)| distance(rgb, *other));
    nearest.map_or(Color::Reset, |(colour, _)| *colour)
}

fn indexed(rgb: [u8; 3]) -> u8 {
    let nearest = (16..=255u8).min_by_key(|index| distance(rgb, rgb_of(*index)));
    nearest.unwrap_or(15)
}

fn rgb_of(index: u8) -> [u8; 3] {
    match index {
        0..16 => SIXTEEN[usize::from(index)].1,
        16..232 => {
            let n = usize::from(index - 16);
            [CUBE[n / 36], CUBE[n / 6 % 6], CUBE[n % 6]]
        }
        232.. => [8 + 10 * (index - 232); 3],
    }
}
