"use strict";
const at = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(1)} %`;
let clip = null; // a Blob
let about = null;
let recorder = null;

function say(text, wrong = false) {
  at("state").textContent = text;
  at("state").className = wrong ? "wrong" : "";
}

function take(blob, name) {
  if (about && blob.size > about.max_bytes) {
    say(`${name} has ${blob.size} bytes, at most ${about.max_bytes} are taken`, true);
    return;
  }
  clip = blob;
  const player = at("player");
  if (player.src) URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(blob);
  player.hidden = false;
  say(name);
  ask();
}

async function record(button, video) {
  if (recorder) { recorder.stop(); return; }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true, video });
  } catch (error) {
    say(`the browser gives no ${video ? "camera" : "microphone"}: ${error.message}`, true);
    return;
  }
  const parts = [], label = button.textContent;
  recorder = new MediaRecorder(stream);
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    stream.getTracks().forEach((track) => track.stop());
    button.textContent = label;
    button.setAttribute("aria-pressed", "false");
    const type = recorder.mimeType;
    recorder = null;
    take(new Blob(parts, { type }), "recording");
  };
  recorder.start();
  button.textContent = "Stop";
  button.setAttribute("aria-pressed", "true");
  say(`recording; the captioner hears the first ${about.seconds} s`);
}

async function ask() {
  const query = new URLSearchParams({ show: "true", audio: at("audio").checked, video: at("video").checked,
    samples: at("samples").value || 0, seed: at("seed").value || 0 });
  if (at("transcript").value) query.set("transcript", at("transcript").value);
  at("ask").disabled = true;
  say("…");
  try {
    const answer = await fetch(`/caption?${query}`, { method: "POST", body: clip });
    const told = await answer.json();
    if (answer.ok) show(told); else say(told.error, true);
  } catch (error) {
    say(`no answer: ${error.message}`, true);
  }
  at("ask").disabled = false;
}

function show(record) {
  say("");
  const samples = record.samples || [];
  at("caption").textContent = record.caption || "(empty)";
  at("facts").textContent = `${record.tokens} tokens, ${percent(record.probability)} each, `
    + `log-probability ${record.logprob.toFixed(2)}`
    + (record.truncated_seconds ? `; the last ${record.truncated_seconds} s are not heard` : "");
  at("drawn").replaceChildren(...samples.map((one) => {
    const line = document.createElement("li");
    line.textContent = `${one.caption} (${percent(one.probability)} a token)`;
    return line;
  }));
  at("key").textContent = samples.length ? "(bars: the caption; circles: its samples)" : "";
  plotEmotions(at("emotions"), record.emotions, samples);
  const shown = record.shown;
  at("heard").textContent = record.heard ? `Sound, ${shown.seconds.toFixed(2)} s` : "Sound: none is heard";
  plotWaveform(at("waveform"), shown.waveform);
  at("spectrogram").hidden = !shown.spectrogram;
  if (shown.spectrogram) at("spectrogram").src = shown.spectrogram;
  at("seen").textContent = record.seen ? `Frames: ${shown.frames.length}` : "Frames: none is seen";
  at("frames").replaceChildren(...shown.frames.map((source, number) => {
    const image = document.createElement("img");
    image.src = source;
    image.alt = `frame ${number + 1}`;
    return image;
  }));
}

async function begin() {
  about = await (await fetch("/about")).json();
  at("model").textContent = about.model;
  at("origin").textContent = location.origin;
  at("samples").max = about.samples;
  at("samples").value = Math.min(3, about.samples);
  for (const stream of ["audio", "video"]) {
    if (!about.streams.includes(stream)) { at(stream).checked = false; at(stream).disabled = true; }
  }
  at("file").onchange = () => { if (at("file").files[0]) take(at("file").files[0], at("file").files[0].name); };
  at("ask").onclick = ask;
  at("microphone").onclick = () => record(at("microphone"), false);
  at("camera").onclick = () => record(at("camera"), true);
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
    at("drop").addEventListener(name, (event) => {
      event.preventDefault();
      at("drop").classList.toggle("over", name === "dragenter" || name === "dragover");
      if (name === "drop" && event.dataTransfer.files[0]) {
        take(event.dataTransfer.files[0], event.dataTransfer.files[0].name);
      }
    });
  }
}

begin();
