// A click on anything with data-start moves a player there, plays, and pauses at data-end. What has data-source, too, plays
// that video in the library's player; otherwise the one video's player has it already.
document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-start]");
    const player = target && document.querySelector(target.dataset.source ? "#library-player video" : "#player video");
    if (!player) return;
    player.dataset.stop = target.dataset.end;
    player.dataset.start = target.dataset.start;
    if (target.dataset.source) showInLibrary(player, target.dataset);
    else seek(player);
    document.querySelectorAll("[data-start]").forEach((other) => other.classList.toggle("playing", other === target));
});

// Who leaves a tab leaves its player, which would play on unseen.
document.addEventListener("click", (event) => {
    if (event.target.closest("[role=tab]")) document.querySelectorAll("video").forEach((player) => player.pause());
});

function seek(player) {
    player.currentTime = Number(player.dataset.start);
    delete player.dataset.start;
    player.play().catch(() => {}); // a browser may refuse to play; the player has moved all the same
}

function showInLibrary(player, { source, caption, problem }) {
    const frame = player.closest("#library-player");
    frame.querySelector(".caption").textContent = caption;
    if (problem) {
        player.removeAttribute("src");
        player.load();
        say(frame, problem);
    } else if (player.getAttribute("src") !== source) {
        say(frame, "Loading the video …");
        player.src = source;
    } else if (player.readyState > 0) seek(player);
    frame.scrollIntoView({ block: "nearest", behavior: "smooth" }); // in a narrow window it may be far up
}

// A sentence in the place of the video; "" shows the video.
function say(frame, sentence) {
    frame.querySelector("video").hidden = sentence !== "";
    frame.querySelector(".blank").textContent = sentence;
}

// Events of media do not bubble, so they are caught on their way down: a player may come anew.
function onMedia(name, react) {
    document.addEventListener(name, (event) => event.target.dataset && react(event.target), true);
}

onMedia("loadedmetadata", (player) => {
    const frame = player.closest("#library-player");
    if (!frame) return;
    say(frame, "");
    if (player.dataset.start) seek(player);
});
// The server says in a sentence why it does not deliver a video.
onMedia("error", async (player) => {
    const frame = player.closest("#library-player"), source = player.getAttribute("src");
    if (!frame || !source) return;
    const reply = await fetch(source).catch(() => null);
    const sentence = reply && reply.status === 404 ? await reply.text() : "This video cannot be played.";
    if (player.getAttribute("src") !== source) return; // another one was clicked meanwhile
    player.removeAttribute("src"); // so that another click tries again
    say(frame, sentence);
});
onMedia("timeupdate", (player) => {
    if (player.dataset.stop && player.currentTime >= Number(player.dataset.stop)) {
        player.pause();
        delete player.dataset.stop;
    }
});
// Whoever moves the player by hand wants to go on watching.
onMedia("seeking", (player) => {
    if (player.dataset.stop && player.currentTime > Number(player.dataset.stop)) delete player.dataset.stop;
});
// A picture that cannot be had leaves its place empty.
onMedia("error", (picture) => {
    if (picture.matches(".frame img")) picture.hidden = true;
});
