use serde_json::json;

use super::*;

#[test]
fn columns_are_aligned_and_numbers_to_the_right() {
    let rows = [
        vec![json!("n1"), json!(5), json!(null), json!(true)],
        vec![json!("node-2"), json!(1234), json!(["a:1", "b:2"]), json!(false)],
    ];
    let text = aligned(&["node", "hit_count", "seeds", "up"], &rows);
    let expected = "\
NODE    HIT COUNT  SEEDS    UP
n1              5  -        yes
node-2       1234  a:1,b:2  no";
    assert_eq!(text, expected);
}

#[test]
fn programs_read_values_and_nothing_else() {
    let plain: Vec<_> = [json!(null), json!(true), json!("a b"), json!(1.5), json!([])].iter().map(plain).collect();
    assert_eq!(plain, ["", "true", "a b", "1.5", ""]);
}
