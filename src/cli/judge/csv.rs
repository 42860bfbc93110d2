//! Samples of a rollout from a CSV file. Every fault names the file, the line, the column and the
//! mend; nothing that cannot be read is passed over.

use crate::analysis::replay::{Counts, Point, Samples, Side};
use crate::model::Clean;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Largest file that is read.
const BYTES_MAX: u64 = 256 << 20;
/// Most rows: a month of two versions at 5 s.
const ROWS_MAX: usize = 1_100_000;
/// Most columns.
const COLUMNS_MAX: usize = 256;

/// Why a file gives no samples. The text says where and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadSamples(Clean);

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<Samples, BadSamples> {
    let name = path.display().to_string();
    let unreadable = |error: std::io::Error| {
        BadSamples(Clean::new(&format!(
            "{name}: cannot be read: {error}; name a CSV file"
        )))
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > BYTES_MAX {
        let text = format!(
            "{name}: is larger than {} MiB; cut it in parts",
            BYTES_MAX >> 20
        );
        return Err(BadSamples(Clean::new(&text)));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        BadSamples(Clean::new(&format!(
            "{name}: is not UTF-8; write it as UTF-8"
        )))
    })?;
    parse(&name, &text)
}

/// Where in the file something is.
#[derive(Debug, Clone, Copy)]
struct Spot<'a> {
    file: &'a str,
    line: usize,
}

impl Spot<'_> {
    fn bad(self, column: &str, what: &str, mend: &str) -> BadSamples {
        let at = match column {
            "" => String::new(),
            column => format!(" column {column}:"),
        };
        let text = format!("{}:{}:{at} {what}; {mend}", self.file, self.line);
        BadSamples(Clean::new(&text))
    }
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
enum Column {
    Time,
    Set,
    Requests,
    Errors,
    /// Requests not slower than so many ms; which of the edges.
    Within(usize),
    /// Which of the gauges.
    Gauge(usize),
}

/// The first line, understood.
struct Header {
    names: Vec<String>,
    columns: Vec<Column>,
    edges_ms: Vec<f64>,
    gauges: Vec<String>,
}

/// Which version a row is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    Canary,
    Stable,
}

/// Reads a text by the name of its file.
pub(super) fn parse(file: &str, text: &str) -> Result<Samples, BadSamples> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().enumerate();
    let mut lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let Some((at, first)) = lines.next() else {
        let spot = Spot { file, line: 1 };
        return Err(spot.bad("", "is empty", MEND_HEADER));
    };
    let header = header(Spot { file, line: at + 1 }, first)?;
    let mut points: BTreeMap<u64, Point> = BTreeMap::new();
    for (count, (at, line)) in lines.enumerate() {
        let spot = Spot { file, line: at + 1 };
        if count >= ROWS_MAX {
            let what = format!("there are more than {ROWS_MAX} rows");
            return Err(spot.bad("", &what, "cut the file in parts"));
        }
        let (at_ms, set, side) = row(spot, &header, line)?;
        let point = points.entry(at_ms).or_default();
        point.at_ms = at_ms;
        let slot = match set {
            Set::Canary => &mut point.canary,
            Set::Stable => &mut point.stable,
        };
        match slot {
            Some(there) => join(there, &side),
            None => *slot = Some(side),
        }
    }
    Ok(Samples {
        edges_ms: header.edges_ms,
        gauges: header.gauges,
        points: points.into_values().collect(),
    })
}

const MEND_HEADER: &str = "begin with the line time_ms,set,requests,errors";

/// Two rows of one version at one time are of two instances: counts add up, of gauges the higher
/// one counts.
fn join(there: &mut Side, other: &Side) {
    there.counts.add(&other.counts);
    for (mine, theirs) in there.gauges.iter_mut().zip(&other.gauges) {
        *mine = mine.iter().copied().chain(*theirs).reduce(f64::max);
    }
}

/// The fields of a line, without the blanks and quotes around them.
fn fields(line: &str) -> Vec<&str> {
    line.split(',').map(unquoted).collect()
}

fn unquoted(field: &str) -> &str {
    let field = field.trim();
    let inner = field
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(field)
}

fn header(spot: Spot<'_>, line: &str) -> Result<Header, BadSamples> {
    let names: Vec<String> = fields(line).into_iter().map(str::to_owned).collect();
    if names.len() > COLUMNS_MAX {
        let what = format!("{} columns are more than {COLUMNS_MAX}", names.len());
        return Err(spot.bad("", &what, "leave out what is not to be judged"));
    }
    required(spot, &names, line)?;
    let mut edges_ms = Vec::new();
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            return Err(spot.bad(name, "is there twice", "give each column a name of its own"));
        }
        edges_ms.extend(edge(spot, name)?);
    }
    edges_ms.sort_by(f64::total_cmp);
    if let Some(twice) = edges_ms.windows(2).find(|pair| pair[0] == pair[1]) {
        let name = format!("le_{}", twice[0]);
        return Err(spot.bad(&name, "is there twice", "give each edge one column"));
    }
    let mut gauges = Vec::new();
    let mut columns = Vec::new();
    for name in &names {
        columns.push(match (name.as_str(), edge(spot, name)?) {
            ("time_ms", _) => Column::Time,
            ("set", _) => Column::Set,
            ("requests", _) => Column::Requests,
            ("errors", _) => Column::Errors,
            (_, Some(ms)) => Column::Within(edges_ms.partition_point(|edge| *edge < ms)),
            (_, None) => {
                gauges.push(name.clone());
                Column::Gauge(gauges.len() - 1)
            }
        });
    }
    Ok(Header {
        names,
        columns,
        edges_ms,
        gauges,
    })
}

fn required(spot: Spot<'_>, names: &[String], line: &str) -> Result<(), BadSamples> {
    for wanted in ["time_ms", "set", "requests", "errors"] {
        if !names.iter().any(|name| name == wanted) {
            let mend = match line.contains(';') && !line.contains(',') {
                true => "separate columns with commas, not semicolons",
                false => MEND_HEADER,
            };
            return Err(spot.bad(wanted, "is missing", mend));
        }
    }
    Ok(())
}

/// The edge that a column's name tells; `None` for every other column.
fn edge(spot: Spot<'_>, name: &str) -> Result<Option<f64>, BadSamples> {
    let Some(text) = name.strip_prefix("le_") else {
        return Ok(None);
    };
    match text.parse::<f64>() {
        Ok(ms) if ms.is_finite() && ms > 0.0 => Ok(Some(ms)),
        _ => {
            let mend = "write the edge in ms, e.g. le_250; requests above the last edge need none";
            Err(spot.bad(name, "names no edge", mend))
        }
    }
}

fn row(spot: Spot<'_>, header: &Header, line: &str) -> Result<(u64, Set, Side), BadSamples> {
    let fields = fields(line);
    if fields.len() != header.names.len() {
        let (is, wanted) = (fields.len(), header.names.len());
        let named = header.names.get(is).map_or("", String::as_str);
        let what = format!("the line has {is} fields, the first line {wanted}");
        return Err(spot.bad(
            named,
            &what,
            "write one field per column, empty for a gauge without value",
        ));
    }
    let (mut at_ms, mut set) = (0, Set::Stable);
    let mut side = Side {
        counts: Counts {
            within: vec![0; header.edges_ms.len()],
            ..Counts::default()
        },
        gauges: vec![None; header.gauges.len()],
    };
    for ((column, name), field) in header.columns.iter().zip(&header.names).zip(fields) {
        match column {
            Column::Time => at_ms = whole(spot, name, field, MEND_TIME)?,
            Column::Set => set = set_of(spot, field)?,
            Column::Requests => side.counts.requests = whole(spot, name, field, MEND_COUNT)?,
            Column::Errors => side.counts.errors = whole(spot, name, field, MEND_COUNT)?,
            Column::Within(edge) => {
                side.counts.within[*edge] = whole(spot, name, field, MEND_COUNT)?
            }
            Column::Gauge(gauge) => side.gauges[*gauge] = value(spot, name, field)?,
        }
    }
    cumulative(spot, header, &side.counts)?;
    Ok((at_ms, set, side))
}

const MEND_TIME: &str = "write the end of the interval in whole ms";
const MEND_COUNT: &str = "write how many there were within the interval, as a whole number";

fn whole(spot: Spot<'_>, name: &str, field: &str, mend: &str) -> Result<u64, BadSamples> {
    let parsed = field.parse::<u64>();
    parsed.map_err(|_| {
        spot.bad(
            name,
            &format!("{field:?} is no whole number from 0 up"),
            mend,
        )
    })
}

fn set_of(spot: Spot<'_>, field: &str) -> Result<Set, BadSamples> {
    match field {
        "canary" => Ok(Set::Canary),
        "stable" => Ok(Set::Stable),
        other => {
            let what = format!("{other:?} is neither canary nor stable");
            Err(spot.bad("set", &what, "write canary or stable"))
        }
    }
}

/// A gauge's value; an empty field and NaN are none.
fn value(spot: Spot<'_>, name: &str, field: &str) -> Result<Option<f64>, BadSamples> {
    if field.is_empty() {
        return Ok(None);
    }
    match field.parse::<f64>() {
        Ok(value) if value.is_nan() => Ok(None),
        Ok(value) if value.is_finite() => Ok(Some(value)),
        _ => {
            let what = format!("{field:?} is no number");
            Err(spot.bad(
                name,
                &what,
                "write a number, or leave it empty where there is none",
            ))
        }
    }
}

/// Counts up to an edge hold those up to every lower edge, and no more than all requests.
fn cumulative(spot: Spot<'_>, header: &Header, counts: &Counts) -> Result<(), BadSamples> {
    let mut below = 0;
    for (edge, within) in header.edges_ms.iter().zip(&counts.within) {
        let name = format!("le_{edge}");
        let mend = "count every request that was not slower, also those of lower edges";
        if *within < below {
            let what = format!("{within} is less than the {below} of the edge below");
            return Err(spot.bad(&name, &what, mend));
        }
        if *within > counts.requests.max(counts.errors) {
            let what = format!("{within} is more than the {} requests", counts.requests);
            return Err(spot.bad(&name, &what, mend));
        }
        below = *within;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "time_ms,set,requests,errors,le_100,le_250,cpu\n";

    fn fault(text: &str) -> String {
        parse("s.csv", text).expect_err("bad").to_string()
    }

    #[test]
    fn rows_of_one_time_meet_in_any_order_and_instances_add_up() {
        let rows = "5000,stable,90,1,80,85,\n10000,canary,10,0,9,10,0.5\n5000,canary,5,1,4,5,0.2\n\
                    10000,canary,20,2,18,20,0.7\n10000,stable,90,0,80,90,NaN\n";
        let samples = parse("s.csv", &format!("\u{feff}{HEAD}{rows}\n\n")).expect("sound");
        assert_eq!(
            (samples.edges_ms, samples.gauges),
            (vec![100.0, 250.0], vec!["cpu".to_owned()])
        );
        let times: Vec<u64> = samples.points.iter().map(|point| point.at_ms).collect();
        assert_eq!(times, [5_000, 10_000]);
        let canary = samples.points[1].canary.as_ref().expect("two rows");
        assert_eq!((canary.counts.requests, canary.counts.errors), (30, 2));
        assert_eq!(
            (&canary.counts.within[..], &canary.gauges[..]),
            (&[27, 30][..], &[Some(0.7)][..])
        );
        let stable = samples.points[1].stable.as_ref().expect("a row");
        assert_eq!(stable.gauges, [None]);
    }

    #[test]
    fn columns_may_stand_in_any_order_with_quotes_and_windows_line_ends() {
        let text = "\"errors\",requests , le_250,le_100,set,time_ms\r\n1,10,9,8,\"canary\",7\r\n";
        let samples = parse("s.csv", text).expect("sound");
        let side = samples.points[0].canary.as_ref().expect("a row");
        assert_eq!(
            (samples.points[0].at_ms, &side.counts.within[..]),
            (7, &[8, 9][..])
        );
    }

    #[test]
    fn every_fault_names_file_line_column_and_the_mend() {
        let of = |row: &str| fault(&format!("{HEAD}1,stable,1,0,1,1,\n{row}\n"));
        for (text, says) in [
            (
                fault(""),
                "s.csv:1: is empty; begin with the line time_ms,set,requests,errors",
            ),
            (
                fault("time_ms,set,errors\n"),
                "s.csv:1: column requests: is missing; begin",
            ),
            (
                fault("time_ms;set;requests;errors\n"),
                "commas, not semicolons",
            ),
            (
                fault("time_ms,set,requests,errors,set\n"),
                "s.csv:1: column set: is there twice",
            ),
            (
                fault("time_ms,set,requests,errors,le_inf\n"),
                "s.csv:1: column le_inf: names no edge",
            ),
            (
                fault("time_ms,set,requests,errors,le_5,le_5.0\n"),
                "column le_5: is there twice",
            ),
            (
                of("x,stable,1,0,1,1,"),
                "s.csv:3: column time_ms: \"x\" is no whole number",
            ),
            (
                of("1,Canary,1,0,1,1,"),
                "s.csv:3: column set: \"Canary\" is neither",
            ),
            (
                of("1,canary,-1,0,1,1,"),
                "s.csv:3: column requests: \"-1\" is no whole",
            ),
            (
                of("1,canary,1,,1,1,"),
                "s.csv:3: column errors: \"\" is no whole number",
            ),
            (
                of("1,canary,9,0,5,4,"),
                "s.csv:3: column le_250: 4 is less than the 5",
            ),
            (
                of("1,canary,9,0,5,10,"),
                "column le_250: 10 is more than the 9 requests",
            ),
            (
                of("1,canary,9,0,5,9,high"),
                "s.csv:3: column cpu: \"high\" is no number; write",
            ),
            (
                of("1,canary,9,0,5"),
                "s.csv:3: column le_250: the line has 5 fields, the first line 7",
            ),
        ] {
            assert!(
                text.contains(says) && text.contains("; "),
                "{text} / {says}"
            );
        }
    }
}
