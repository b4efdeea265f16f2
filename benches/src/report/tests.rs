use super::*;

#[test]
fn a_spread_is_smallest_middle_and_largest() {
    let spread = |numbers: &[f64]| numbers.iter().copied().collect::<Spread>();
    assert_eq!(spread(&[3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
    assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Spread { min: 1.0, median: 2.5, max: 4.0 });
    assert_eq!(spread(&[5.0]), Spread { min: 5.0, median: 5.0, max: 5.0 });
    assert_eq!(format!("{:.1}", spread(&[3.0, 1.0, 2.0])), "2.0 (1.0–3.0)");
    assert_eq!(spread(&[]).to_string(), "-");
    assert_eq!(spread(&[1.0, f64::NAN]).to_string(), "-");
}
