//! Jobs: the labels and the selector that tie a Job to its pods.

use document::Value;

const LABELS: [(&str, &str); 4] = [
    ("controller-uid", "uid"),
    ("batch.kubernetes.io/controller-uid", "uid"),
    ("job-name", "name"),
    ("batch.kubernetes.io/job-name", "name"),
];

pub(super) fn create(plural: &str, job: &mut Value) {
    if plural != "jobs" || job["spec"]["manualSelector"].is_true() {
        return;
    }
    let template = job.at(["spec", "template", "metadata", "labels"]).clone();
    // Defaulting made the Job's labels the template's own map: what is added to one is added to the other.
    let shared = !template.is_empty() && template == job["metadata"]["labels"];
    let uid = job["metadata"]["uid"].clone();
    let name = job["metadata"]["name"].clone();
    let labels = job.at_mut(["spec", "template", "metadata", "labels"]);
    for (label, from) in LABELS {
        if labels.get(label).is_none() {
            labels.set(label, if from == "uid" { uid.clone() } else { name.clone() });
        }
    }
    if shared {
        let all = labels.clone();
        job.entry("metadata").set("labels", all);
    }
    // A Job without labels has those of its template whenever it is read.
    if job["metadata"]["labels"].is_empty() {
        let labels = job.at(["spec", "template", "metadata", "labels"]).clone();
        job.entry("metadata").set("labels", labels);
    }
    let selector = job.at_mut(["spec", "selector", "matchLabels"]);
    if selector.get("batch.kubernetes.io/controller-uid").is_none() {
        selector.set("batch.kubernetes.io/controller-uid", uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn a_job_selects_its_own_pods_by_uid() {
        let mut job = doc!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {"metadata": {}}}});
        create("jobs", &mut job);
        assert_eq!(job["spec"]["selector"], doc!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}));
        assert_eq!(job.at(["spec", "template", "metadata", "labels", "job-name"]).str(), "j");
        assert_eq!(job["metadata"]["labels"]["job-name"].str(), "j");
    }
}
