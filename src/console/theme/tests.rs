use super::*;

fn load(name: &str, depth: Depth) -> Theme {
    let (theme, warnings) = Theme::load(name, None, depth, Symbols::UTF8).expect("it is shipped");
    assert_eq!(warnings, Vec::<String>::new(), "{name}");
    theme
}

#[test]
fn shipped_themes_name_every_role_and_nothing_else() {
    for name in builtin_names() {
        load(name, Depth::True);
        let text = std::fs::read_to_string(format!("themes/{name}.toml")).expect("it is there");
        let table: toml::Table = text.parse().expect("it is TOML");
        for (role, _) in ROLES {
            assert!(table.contains_key(role), "{name} lacks {role}");
        }
    }
    let roles: Vec<_> = ROLES.iter().map(|(_, role)| *role as usize).collect();
    let in_order: Vec<_> = (0..ROLES.len()).collect();
    assert_eq!(roles, in_order, "in the enum's order");
}

fn luminance(colour: Color) -> f64 {
    let Color::Rgb(r, g, b) = colour else {
        panic!("{colour:?} is not the theme's own")
    };
    let linear = |c: u8| match f64::from(c) / 255.0 {
        c if c <= 0.03928 => c / 12.92,
        c => ((c + 0.055) / 1.055).powf(2.4),
    };
    0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
}

#[test]
fn the_dark_theme_can_be_read() {
    let theme = load("default-dark", Depth::True);
    let contrast = |a: Color, b: Color| {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    };
    let backgrounds = [Role::Bg, Role::SelectionBg, Role::SelectionFg];
    for (name, role) in ROLES.iter().filter(|(_, role)| !backgrounds.contains(role)) {
        let ratio = contrast(theme.colour(*role), theme.colour(Role::Bg));
        assert!(ratio >= 4.5, "{name}: {ratio:.2}");
    }
    let selected = contrast(
        theme.colour(Role::SelectionFg),
        theme.colour(Role::SelectionBg),
    );
    assert!(selected >= 4.5, "selection: {selected:.2}");
}

#[test]
fn fewer_colours_take_the_nearest_and_none_takes_none() {
    let red = Depth::Colours256.reduce(Color::Rgb(255, 0, 0));
    assert_eq!(red, Color::Indexed(196));
    let white = Depth::Colours16.reduce(Color::Rgb(250, 250, 250));
    assert_eq!(white, Color::White);
    let bare = load("default-dark", Depth::None);
    assert!(bare.colours.iter().all(|colour| *colour == Color::Reset));
    let reversed = bare.selection().add_modifier.contains(Modifier::REVERSED);
    assert!(reversed, "the selection shows without colours");
}

#[test]
fn a_file_of_ones_own_extends_and_warns() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let read = |name: &str| Theme::load(name, Some(dir.path()), Depth::True, Symbols::ASCII);
    let write = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).expect("writable");
    };
    write("mine.toml", "ok = 12\nwobble = 1\n");
    let (theme, warnings) = read("mine").expect("it is there");
    assert_eq!(theme.colour(Role::Ok), Color::Indexed(12));
    let parent = load("default-dark", Depth::True);
    assert_eq!(theme.colour(Role::Fg), parent.colour(Role::Fg));
    assert_eq!(warnings, ["theme mine: unknown key wobble"]);
    write("bad.toml", "ok = \"greenish\"\n");
    let error = read("bad").expect_err("that is no colour").to_string();
    assert!(error.contains("ok = \"greenish\""), "{error}");
    write("loop.toml", "extends = \"loop\"\n");
    assert!(read("loop").is_err());
    assert!(read("../etc").is_err());
}
