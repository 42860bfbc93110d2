use super::*;

/// What R 4.2's `wilcox.test(canary, stable, conf.int = TRUE)` says.
struct Published {
    canary: &'static [f64],
    stable: &'static [f64],
    confidence: f64,
    u: f64,
    /// Two-sided, greater, less.
    p: [f64; 3],
    /// Shift, low, high.
    shifts: [f64; 3],
}

/// R seeks its roots to 1e-4.
const ROOT: f64 = 1.5e-4;

#[track_caller]
fn check(published: &Published) {
    let found = RankComparison::of(published.canary, published.stable, published.confidence);
    let found = found.expect("comparable");
    assert_eq!(found.u, published.u);
    let p = [found.p_two_sided, found.p_greater, found.p_less];
    for (p, expected) in p.into_iter().zip(published.p) {
        assert!((p / expected - 1.0).abs() < 1e-6, "{p} {expected}");
    }
    let shifts = [found.shift, found.shift_low, found.shift_high];
    for (shift, expected) in shifts.into_iter().zip(published.shifts) {
        assert!((shift - expected).abs() < ROOT, "{shifts:?}");
    }
}

/// Permeability of the amnion, Hollander and Wolfe 1973, p. 69; the example of R's own page.
const PERMEABILITY: [&[f64]; 2] = [
    &[0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46],
    &[1.15, 0.88, 0.90, 0.74, 1.21],
];

#[test]
fn few_distinct_values_are_compared_exactly() {
    check(&Published {
        canary: PERMEABILITY[0],
        stable: PERMEABILITY[1],
        confidence: 0.95,
        u: 35.0,
        p: [
            0.254_412_254_412_254,
            0.127_206_127_206_127,
            0.896_769_896_769_897,
        ],
        shifts: [0.305, -0.15, 0.76],
    });
    // R's PlantGrowth, trt2 against trt1.
    check(&Published {
        canary: &[6.31, 5.12, 5.54, 5.5, 5.37, 5.29, 4.92, 6.15, 5.8, 5.26],
        stable: &[4.81, 4.17, 4.41, 3.59, 5.87, 3.83, 6.03, 4.89, 4.32, 4.69],
        confidence: 0.98,
        u: 84.0,
        p: [
            0.008_930_697_785_186_95,
            0.004_465_348_892_593_47,
            0.996_579_272_121_068,
        ],
        shifts: [0.945, 0.23, 1.63],
    });
}

#[test]
fn ties_are_approximated_with_their_correction() {
    // R's airquality: ozone in May against August.
    check(&Published {
        canary: &[
            41.0, 36.0, 12.0, 18.0, 28.0, 23.0, 19.0, 8.0, 7.0, 16.0, 11.0, 14.0, 18.0, 14.0, 34.0,
            6.0, 30.0, 11.0, 1.0, 11.0, 4.0, 32.0, 23.0, 45.0, 115.0, 37.0,
        ],
        stable: &[
            39.0, 9.0, 16.0, 78.0, 35.0, 66.0, 122.0, 89.0, 110.0, 44.0, 28.0, 65.0, 22.0, 59.0,
            23.0, 31.0, 44.0, 21.0, 9.0, 45.0, 168.0, 73.0, 76.0, 118.0, 84.0, 85.0,
        ],
        confidence: 0.95,
        u: 127.5,
        p: [
            0.000_120_807_830_768_774,
            0.999_943_949_875_281,
            6.040_391_538_438_72e-5,
        ],
        shifts: [-32.0, -53.0, -15.0],
    });
    // R's mtcars: miles per gallon, manual against automatic.
    check(&Published {
        canary: &[
            21.0, 21.0, 22.8, 32.4, 30.4, 33.9, 27.3, 26.0, 30.4, 15.8, 19.7, 15.0, 21.4,
        ],
        stable: &[
            21.4, 18.7, 18.1, 14.3, 24.4, 22.8, 19.2, 17.8, 16.4, 17.3, 15.2, 10.4, 10.4, 14.7,
            21.5, 15.5, 15.2, 13.3, 19.2,
        ],
        confidence: 0.95,
        u: 205.0,
        p: [
            0.001_871_391_333_178_56,
            0.000_935_695_666_589_278,
            0.999_178_919_253_92,
        ],
        shifts: [6.8, 2.9, 11.7],
    });
    // R's sleep: extra hours with the first drug against the second. U equals its mean for every
    // shift from -1.4 to -1.3: R takes -1.3464 of them, we the middle.
    check(&Published {
        canary: &[0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
        stable: &[1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
        confidence: 0.95,
        u: 25.5,
        p: [
            0.069_327_575_433_626_6,
            0.970_751_668_607_274,
            0.034_663_787_716_813_3,
        ],
        shifts: [-1.35, -3.6, 0.1],
    });
}

#[test]
fn small_ratios_are_compared_as_well_as_large_ones() {
    let scaled = |series: &[f64]| {
        series
            .iter()
            .map(|v| (v * 100.0).round())
            .collect::<Vec<_>>()
    };
    let [canary, stable] = PERMEABILITY.map(scaled);
    // Ties, so that the root is sought.
    let with_a_tie = |mut series: Vec<f64>| {
        series[1] = series[0];
        series
    };
    let (canary, stable) = (with_a_tie(canary), with_a_tie(stable));
    let large = RankComparison::of(&canary, &stable, 0.98).expect("comparable");
    let tiny = |series: &[f64]| {
        series
            .iter()
            .map(|v| v * 2f64.powi(-40))
            .collect::<Vec<_>>()
    };
    let small = RankComparison::of(&tiny(&canary), &tiny(&stable), 0.98).expect("comparable");
    let scale = 2f64.powi(40);
    assert_eq!(small.p_two_sided, large.p_two_sided);
    for (small, large) in [
        (small.shift, large.shift),
        (small.shift_low, large.shift_low),
        (small.shift_high, large.shift_high),
    ] {
        assert!((small * scale - large).abs() < 1e-9, "{small} {large}");
    }
}

#[test]
fn effect_sizes_and_direction_speak_of_the_canary() {
    let low: Vec<f64> = (0..60).map(|i| 10.0 + f64::from(i % 7)).collect();
    let high: Vec<f64> = low.iter().map(|v| v + 20.0).collect();
    let found = RankComparison::of(&high, &low, 0.98).expect("comparable");
    assert_eq!(
        (found.direction(0.25), found.greater_share),
        (Direction::High, 1.0)
    );
    assert!((found.shift - 20.0).abs() < 1e-9, "{found:?}");
    assert!(found.mean_ratio.is_some_and(|ratio| ratio > 2.0));
    let found = RankComparison::of(&low, &high, 0.98).expect("comparable");
    assert_eq!(found.direction(0.25), Direction::Low);
    let found = RankComparison::of(&low, &low, 0.98).expect("comparable");
    assert_eq!(
        (found.direction(0.25), found.greater_share),
        (Direction::Same, 0.5)
    );
}

#[test]
fn series_of_one_value_only_show_no_direction() {
    let found = RankComparison::of(&[3.0; 8], &[3.0; 5], 0.98).expect("comparable");
    assert_eq!((found.p_two_sided, found.shift), (1.0, 0.0));
    assert_eq!(found.direction(0.25), Direction::Same);
    let zero = RankComparison::of(&[1.0, 2.0], &[0.0, 0.0], 0.98).expect("comparable");
    assert_eq!(zero.mean_ratio, None);
}

#[test]
fn what_is_no_number_is_never_compared() {
    assert_eq!(RankComparison::of(&[], &[1.0], 0.98), None);
    assert_eq!(RankComparison::of(&[f64::NAN, 1.0], &[1.0], 0.98), None);
    assert_eq!(RankComparison::of(&[1.0], &[f64::INFINITY], 0.98), None);
}

#[test]
fn cleaning_says_what_becomes_of_nan_and_of_outliers() {
    let values = [1.0, f64::NAN, 2.0, 3.0, f64::NEG_INFINITY, 4.0, 100.0];
    let kept = cleaned(&values, Unreal::Remove, Outliers::Keep);
    assert_eq!(kept, [1.0, 2.0, 3.0, 4.0, 100.0]);
    let kept = cleaned(&values, Unreal::Zero, Outliers::Keep);
    assert_eq!(kept, [1.0, 0.0, 2.0, 3.0, 0.0, 4.0, 100.0]);
    // Quartiles 2 and 4.
    let kept = cleaned(&values, Unreal::Remove, Outliers::Beyond(3.0));
    assert_eq!(kept, [1.0, 2.0, 3.0, 4.0]);
    assert!(cleaned(&[], Unreal::Remove, Outliers::Beyond(3.0)).is_empty());
}
