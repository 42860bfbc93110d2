use super::*;

fn vector(result: &str) -> Vec<u8> {
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":{result}}}}}"#)
        .into_bytes()
}

fn value(json: &str) -> Measured<f64> {
    let body = vector(&format!(r#"[{{"metric":{{}},"value":[1.5,{json}]}}]"#));
    one(&body).expect("an answer").value
}

/// FAULTS 71.
#[test]
fn fault_71_only_a_finite_number_is_a_value() {
    assert_eq!(value(r#""0.25""#), Measured::Value(0.25));
    let zero = value(r#""-0""#);
    assert!(matches!(zero, Measured::Value(zero) if zero == 0.0 && zero.is_sign_positive()));
    for none in [
        r#""NaN""#,
        r#""+Inf""#,
        r#""-Inf""#,
        r#""""#,
        "null",
        r#""1e999""#,
        r#""-1""#,
        "0.25",
        "[]",
        r#""0.2.5""#,
        r#"" 1""#,
    ] {
        let found = value(none);
        assert!(matches!(found, Measured::Doubtful(_)), "{none}: {found:?}");
    }
}

#[test]
fn fault_72_no_series_is_nothing() {
    let found = one(&vector("[]")).expect("an answer");
    assert!(matches!(found.value, Measured::Nothing(_)));
    assert!(matches!(buckets(&vector("[]")), Ok(Measured::Nothing(_))));
}

/// FAULTS 73.
#[test]
fn fault_73_several_series_are_an_error_that_names_them() {
    let body = vector(
        r#"[{"metric":{"code":"200","pod":"a\u001b[31m"},"value":[1,"1"]},
            {"metric":{"code":"500"},"value":[1,"2"]}]"#,
    );
    let error = one(&body).expect_err("refused").to_string();
    for part in ["2 series", "code=\"200\"", "code=\"500\""] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains('\u{1b}'), "{error}");
}

/// FAULTS 75.
#[test]
fn fault_75_what_is_no_answer_is_an_error_of_its_kind() {
    let page = b"<html><title>Sign in\x1b[2J</title>";
    let error = one(page).expect_err("refused");
    assert!(matches!(error, AnswerError::NotPrometheus(_)), "{error}");
    assert!(error.to_string().contains("Sign in"), "{error}");
    assert!(!error.to_string().contains('\u{1b}'), "{error}");
    let refused = br#"{"status":"error","errorType":"bad_data","error":"parse error at char 3"}"#;
    assert!(matches!(one(refused), Err(AnswerError::Refused(_))));
    let partial = br#"{"status":"success","warnings":["partial response"],
        "data":{"resultType":"vector","result":[]}}"#;
    assert!(matches!(one(partial), Err(AnswerError::Partial(_))));
    let matrix = br#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
    assert!(matches!(one(matrix), Err(AnswerError::Form(_))));
    for none in [
        &b""[..],
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"{\"status\":\"success\"}",
    ] {
        assert!(one(none).is_err(), "{none:?}");
    }
}

#[test]
fn fault_77_depth_is_no_danger() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(one(deep.as_bytes()).is_err());
    assert!(one(&vector(&deep)).is_err());
}

#[test]
fn a_scalar_is_one_value() {
    let body = br#"{"status":"success","data":{"resultType":"scalar","result":[12.5,"3"]}}"#;
    let found = one(body).expect("an answer");
    assert_eq!(
        (found.value, found.at_s),
        (Measured::Value(3.0), Some(12.5))
    );
}

fn bucket(le: &str, within: &str) -> String {
    format!(r#"{{"metric":{{"le":"{le}"}},"value":[1,"{within}"]}}"#)
}

#[test]
fn buckets_are_put_in_order_and_never_cross() {
    let all = [
        bucket("+Inf", "100"),
        bucket("1.0", "99.5"),
        bucket("0.1", "90"),
        bucket("0.25", "99.6"),
    ];
    let body = vector(&format!("[{}]", all.join(",")));
    let Ok(Measured::Value(found)) = buckets(&body) else {
        panic!("no buckets");
    };
    assert_eq!(found.count, 100.0);
    assert_eq!(
        found.within,
        [(100.0, 90.0), (250.0, 99.5), (1_000.0, 99.5)]
    );
    assert_eq!(found.above(1_000.0), Some(0.5));
}

#[test]
fn a_histogram_that_is_none_is_doubtful_or_refused() {
    let one_bucket = |le: &str, within: &str| vector(&format!("[{}]", bucket(le, within)));
    for body in [one_bucket("0.1", "1"), one_bucket("+Inf", "NaN")] {
        assert!(matches!(buckets(&body), Ok(Measured::Doubtful(_))));
    }
    let two_pods = vector(r#"[{"metric":{"le":"1","pod":"a"},"value":[1,"1"]}]"#);
    assert!(buckets(&two_pods).is_err());
    assert!(buckets(&one_bucket("wide", "1")).is_err());
}

#[test]
fn a_range_keeps_its_gaps() {
    let body = br#"{"status":"success","data":{"resultType":"matrix","result":[
        {"metric":{},"values":[[1,"0.1"],[2,"NaN"],[3,"0.3"]]}]}}"#;
    assert_eq!(range(body), Ok(vec![(1.0, 0.1), (3.0, 0.3)]));
}
