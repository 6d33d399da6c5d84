//! The report as one HTML page that needs nothing else: no script, no other file. Texts are shown as text, never as markup.

use std::fmt::Write as _;

use super::{
    Comparison, Judged, Report,
    metrics::Ranking,
    report::{COLUMNS, COMPARED, Key, grouped, ranking},
    task_name,
};
use crate::segment::Task;

const STYLE: &str = include_str!("page.css");
/// Okabe and Ito's colours, which colour-blind readers can tell apart; the first is for all texts together.
const COLOURS: [&str; 9] = ["#7a8594", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#b8a900", "#8c564b"];
/// Side of a chart, and the room for its labels.
const SIDE: f64 = 420.0;
const MARGIN: f64 = 34.0;
/// Points of a curve: more than the eye tells.
const POINTS: usize = 300;
/// Mistakes of each kind that are shown.
const MISTAKES: usize = 25;
/// Characters of a mistake's text that are shown.
const SHOWN: usize = 600;
const BINS: usize = 40;

/// The page of one guard.
#[must_use]
pub fn one(report: &Report, judged: &[Judged]) -> String {
    let mut page = head(&format!("How {} judges", report.guard));
    for task in tasks(judged) {
        _ = write!(page, "<h2>{}</h2><div class=\"charts\">{}", heading(task), curves_figure(&by_language(judged, task), ""));
        page.push_str(&histogram(grouped(judged).get(&all_of(task)).map_or(&[], Vec::as_slice)));
        page.push_str("</div>");
    }
    page.push_str(&figures(report));
    page.push_str(&mistakes(judged));
    page + "</body></html>\n"
}

/// The page of two guards side by side.
#[must_use]
pub fn two(comparison: &Comparison, [a, b]: [&[Judged]; 2]) -> String {
    let reports = [&comparison.a, &comparison.b];
    let mut page = head("Two guards on the same texts");
    _ = write!(page, "<p>A: {}<br>B: {}</p>", escape(&comparison.a.guard), escape(&comparison.b.guard));
    for task in tasks(a) {
        let all = |judged| ranking(grouped(judged).get(&all_of(task)).map_or(&[], Vec::as_slice));
        _ = write!(page, "<h2>{}</h2><div class=\"charts\">", heading(task));
        page.push_str(&curves_figure(&[("A", all(a)), ("B", all(b))], "Both, all texts. "));
        page.push_str(&curves_figure(&by_language(a, task), "A by language. "));
        page.push_str(&curves_figure(&by_language(b, task), "B by language. "));
        page.push_str("</div>");
    }
    _ = write!(page, "<h2>Difference</h2>{}", table(&COMPARED, &comparison.rows()));
    for ((name, report), judged) in ["A", "B"].into_iter().zip(reports).zip([a, b]) {
        _ = write!(page, "<h2>{name}: {}</h2>{}{}", escape(&report.guard), figures(report), mistakes(judged));
    }
    page + "</body></html>\n"
}

fn all_of(task: &'static str) -> Key<'static> {
    Key { task, by: "all", name: "" }
}

/// The rankings of all of a task's texts and of each language's.
fn by_language<'a>(judged: &'a [Judged], task: &str) -> Vec<(&'a str, Ranking)> {
    let groups = grouped(judged).into_iter().filter(|(key, _)| key.task == task && key.by != "source");
    groups.map(|(key, texts)| (if key.by == "all" { "all" } else { key.name }, ranking(&texts))).collect()
}

/// All tables of a report.
fn figures(report: &Report) -> String {
    let mut out = format!("<h2>Figures</h2><p>{}</p>{}", escape(&report.legend()), table(&COLUMNS, &report.rows()));
    if !report.hidden.is_empty() {
        out.push_str("<h2>Long text</h2><p>Unsafe prompts by themselves and hidden in long harmless texts of their language, each beside that text without it.</p>");
        out.push_str(&table(&COLUMNS, &report.hidden_rows()));
    }
    out
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let class = |column: usize| if column == 1 { " class=\"text\"" } else { "" };
    let head = head.iter().enumerate().map(|(column, name)| format!("<th{}>{}</th>", class(column), name.to_lowercase()));
    let mut out = format!("<div class=\"wide\"><table><tr>{}</tr>", head.collect::<String>());
    for row in rows {
        let strong = row.get(1).is_some_and(|name| name == "all" || name.starts_with("mean of "));
        let cells = row.iter().enumerate().map(|(column, cell)| format!("<td{}>{}</td>", class(column), escape(cell)));
        _ = write!(out, "<tr{}>{}</tr>", if strong { " class=\"all\"" } else { "" }, cells.collect::<String>());
    }
    out + "</table></div>"
}

fn head(title: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>",
        title = escape(title)
    )
}

fn heading(task: &str) -> &'static str {
    if task == "prompt" { "Prompts" } else { "Responses" }
}

fn tasks(judged: &[Judged]) -> impl Iterator<Item = &'static str> {
    [Task::Prompt, Task::Response].into_iter().filter(|task| judged.iter().any(|text| text.text.task == *task)).map(task_name)
}

/// Precision over recall.
fn curves_figure(curves: &[(&str, Ranking)], whose: &str) -> String {
    let mut out = String::from("<figure>");
    out.push_str(&axes("recall", "precision", true));
    let mut keys = String::new();
    let drawn = curves.iter().filter_map(|(name, ranking)| Some((name, ranking, ranking.average_precision(None)?)));
    for ((name, ranking, area), colour) in drawn.zip(COLOURS.iter().cycle()) {
        let class = if *name == "all" { "curve all" } else { "curve" };
        _ = write!(out, "<polyline class=\"{class}\" stroke=\"{colour}\" points=\"{}\"/>", points(ranking));
        _ = write!(
            keys,
            "<span class=\"key\"><b style=\"background:{colour}\"></b>{} {:.1}</span>",
            escape(name),
            area * 100.0
        );
    }
    _ = write!(
        out,
        "</svg><figcaption>{whose}Precision over recall; the number is the area below, in percent.<br>{keys}</figcaption></figure>"
    );
    out
}

fn points(ranking: &Ranking) -> String {
    #[expect(clippy::cast_precision_loss, reason = "counts of texts are far below 2^52")]
    let positive = ranking.counts().0 as f64;
    let steps: Vec<_> = ranking.steps(None).filter(|step| step.caught > 0.0).collect();
    let every = steps.len().div_ceil(POINTS).max(1);
    let last = steps.len().saturating_sub(1);
    let kept = steps.iter().enumerate().filter(|(at, _)| at % every == 0 || *at == last);
    let place = kept.map(|(_, step)| {
        let (x, y) = (step.caught / positive, step.caught / (step.caught + step.flagged));
        format!("{:.1},{:.1}", across(x), down(y))
    });
    place.collect::<Vec<_>>().join(" ")
}

/// How scores are spread, safe and unsafe.
fn histogram(texts: &[&Judged]) -> String {
    let mut bins = [[0_u32; BINS]; 2];
    for judged in texts {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "scores are 0 to 1"
        )]
        let bin = ((judged.score.value * BINS as f32) as usize).min(BINS - 1);
        if let Some(count) = bins.get_mut(usize::from(judged.text.is_unsafe)).and_then(|bins| bins.get_mut(bin)) {
            *count += 1;
        }
    }
    // Most scores lie at the ends, so heights are square roots, else the middle could not be seen.
    let height = |count: u32| f64::from(count).sqrt();
    let most = bins.iter().flatten().copied().map(height).fold(1.0, f64::max);
    let mut out = format!("<figure>{}", axes("P(unsafe)", "texts", false));
    for ((bins, colour), name) in bins.iter().zip(["#009e73", "#d55e00"]).zip(["safe", "unsafe"]) {
        let mut outline = format!("{:.1},{:.1}", across(0.0), down(0.0));
        for (at, count) in bins.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "there are a few bins")]
            let (left, right) = (at as f64 / BINS as f64, (at + 1) as f64 / BINS as f64);
            let y = down(height(*count) / most);
            _ = write!(outline, " {:.1},{y:.1} {:.1},{y:.1}", across(left), across(right));
        }
        _ = write!(
            out,
            "<polygon points=\"{outline} {:.1},{:.1}\" fill=\"{colour}\" fill-opacity=\".35\" stroke=\"{colour}\"><title>{name}</title></polygon>",
            across(1.0),
            down(0.0)
        );
    }
    out.push_str("</svg><figcaption>Scores of safe (green) and unsafe (orange) texts; heights are square roots of counts.</figcaption></figure>");
    out
}

/// An open `<svg>` with a grid from 0 to 1 both ways; the numbers of `y` are left out where it counts something else.
fn axes(x: &str, y: &str, numbered: bool) -> String {
    let size = SIDE + 2.0 * MARGIN;
    let mut out = format!("<svg viewBox=\"0 0 {size} {size}\" role=\"img\" aria-label=\"{y} over {x}\">");
    for tenth in [0, 2, 4, 6, 8, 10] {
        let at = f64::from(tenth) / 10.0;
        let (left, right, top, bottom, here, level) = (across(0.0), across(1.0), down(1.0), down(0.0), across(at), down(at));
        _ = write!(
            out,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{level}\" y2=\"{level}\"/><line class=\"grid\" x1=\"{here}\" x2=\"{here}\" y1=\"{top}\" y2=\"{bottom}\"/>\
             <text x=\"{here}\" y=\"{}\" text-anchor=\"middle\">{at}</text>",
            bottom + 16.0
        );
        if numbered {
            _ = write!(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{at}</text>", left - 6.0, level + 4.0);
        }
    }
    _ = write!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{x}</text><text x=\"{MARGIN}\" y=\"{}\">{y}</text>",
        across(1.0),
        down(0.0) + 30.0,
        down(1.0) - 10.0
    );
    out
}

fn across(x: f64) -> f64 {
    MARGIN + x * SIDE
}

fn down(y: f64) -> f64 {
    MARGIN + (1.0 - y) * SIDE
}

/// The texts that the guard is most wrong about.
fn mistakes(judged: &[Judged]) -> String {
    let mut out = String::new();
    for (title, is_unsafe) in [("Unsafe texts with the lowest scores", true), ("Safe texts with the highest scores", false)] {
        let wrong = |judged: &&Judged| judged.text.is_unsafe == is_unsafe && judged.is_flagged() != is_unsafe;
        let mut worst: Vec<&Judged> = judged.iter().filter(wrong).collect();
        worst.sort_by(|a, b| a.score.value.total_cmp(&b.score.value));
        if !is_unsafe {
            worst.reverse();
        }
        _ = write!(
            out,
            "<h2>{title}</h2><p>{} of {} such texts are on the wrong side of the threshold.</p>",
            worst.len(),
            judged.iter().filter(|judged| judged.text.is_unsafe == is_unsafe).count()
        );
        if worst.is_empty() {
            continue;
        }
        out.push_str("<div class=\"wide\"><table><tr><th>score</th><th>threshold</th><th class=\"text\">task</th><th class=\"text\">language</th><th class=\"text\">source</th><th class=\"text\">text</th></tr>");
        for judged in worst.into_iter().take(MISTAKES) {
            _ = write!(
                out,
                "<tr><td>{:.3}</td><td>{:.3}</td><td class=\"text\">{}</td><td class=\"text\">{}</td><td class=\"text\">{}</td><td class=\"text quote\" dir=\"auto\">{}</td></tr>",
                judged.score.value,
                judged.score.threshold,
                task_name(judged.text.task),
                escape(judged.language()),
                escape(&judged.text.source),
                escape(&shown(judged)),
            );
        }
        out.push_str("</table></div>");
    }
    out
}

fn shown(judged: &Judged) -> String {
    let cut = |text: &str| match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    };
    let prompt = judged.text.prompt.as_deref().map(|prompt| format!("{}\n→ ", cut(prompt))).unwrap_or_default();
    prompt + &cut(&judged.text.text)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        eval::{Labelled, report::Measure},
        segment::Score,
    };

    fn judged(text: &str, value: f32, is_unsafe: bool) -> Judged {
        let text = Labelled {
            task: Task::Prompt,
            text: text.into(),
            prompt: None,
            lang: Some("en".into()),
            source: "<s>".into(),
            is_unsafe,
        };
        Judged { text, score: Score { value, threshold: 0.5 }, detected: None }
    }

    #[test]
    fn texts_stay_text_and_the_page_needs_nothing_else() {
        let texts =
            [judged("<script>alert(1)</script>", 0.1, true), judged("\" onload=\"x", 0.9, false), judged("fine", 0.2, false)];
        let measure = Measure { target_fpr: 0.02, rounds: 20 };
        let report = Report::new("g <b>", &texts, &[], measure);
        let comparison = Comparison::new([("a<", &texts), ("b", &texts)], [&[], &[]], measure);
        for page in [one(&report, &texts), two(&comparison, [&texts, &texts])] {
            assert!(
                !page.contains("<script") && !page.contains("\" onload") && !page.contains("g <b>") && !page.contains("a<<"),
                "{page}"
            );
            assert!(!page.contains("http") && !page.contains("src=") && !page.contains("@import"));
            assert!(page.contains("<polyline") && page.ends_with("</body></html>\n"));
        }
        let page = one(&report, &texts);
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("&quot; onload="));
    }
}
