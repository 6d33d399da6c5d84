//! A long text's case says where the text is bad.

use http::StatusCode;
use serde_json::Value;

use super::{Browser, people};
use crate::harness::{Proxy, RULES, ask};

#[tokio::test]
async fn the_bad_stretch_of_a_long_prompt_is_shown_and_led_to() {
    let rules = RULES.replacen("threshold = \"guard\"", "threshold = 0.625", 1);
    let proxy = Proxy::with(&rules, people).await;
    let harmless = "t".repeat(60) + " ";
    // It lies beyond all that the page shows of a text by itself.
    let prompt = format!("{} BEFORE danger AFTER {}", harmless.repeat(4_000), harmless.repeat(1_500));
    let answer = proxy.post(ask(&prompt)).await;
    let id = answer.header("seawall-request-id");
    let browser = Browser::of(&proxy, "viewer").await;

    let case = browser.get(&format!("/api/v1/cases/{id}")).await.json();
    let windows = case["case"]["evidence"]["passages"][0]["verdicts"][0]["windows"].as_array().unwrap().clone();
    let place = |window: &Value, name: &str| usize::try_from(window[name].as_u64().unwrap()).unwrap();
    let worst = windows.iter().max_by(|a, b| a["score"].as_f64().unwrap().total_cmp(&b["score"].as_f64().unwrap())).unwrap();
    assert!(prompt[place(worst, "start")..place(worst, "end")].contains("danger"));
    assert_eq!(windows.len(), 256, "the worst of more");

    let answer = browser.get(&format!("/review/cases/{id}")).await;
    assert_eq!(answer.status, StatusCode::OK);
    let page = String::from_utf8(answer.body.to_vec()).unwrap();
    let marked = page.split_once("<mark class=\"worst\">").unwrap().1.split_once("</mark>").unwrap().0;
    assert!(marked.contains("danger") && marked.contains("worst, score "), "{marked}");
    let at = place(worst, "start");
    assert!(page.contains(&format!("href=\"#request-0-{at}\"")) && page.contains(&format!("id=\"request-0-{at}\"")));
    assert!(
        page.contains("The 8 worst of 256 or more stretches")
            && page.contains("<svg class=\"strip\" role=\"img\" aria-label=\"How 256")
    );
    assert!(page.contains(" of 0.62<") && !page.contains(" of 0.50<"), "the threshold is that of the rule");
    assert!(!page.contains(" style=") && page.len() < 600_000, "{}", page.len());

    let document = browser.get("/api/v1/openapi.json").await.json().to_string();
    assert!(document.contains("\"windows\"") && document.contains("\"threshold\""));
}
