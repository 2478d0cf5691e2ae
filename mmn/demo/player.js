// A click on anything with data-start moves the player there, plays, and pauses at data-end.
document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-start]");
    const player = document.querySelector("#player video");
    if (!target || !player) return;
    const start = Number(target.dataset.start);
    player.dataset.stop = target.dataset.end;
    player.currentTime = start;
    player.play().catch(() => {}); // a browser may refuse to play; the player has moved all the same
    document.querySelectorAll("[data-start]").forEach((other) => other.classList.toggle("playing", other === target));
});
// Once per player: it comes anew with every video. Events of media do not bubble, so they are caught on their way down.
document.addEventListener("timeupdate", (event) => {
    const player = event.target;
    if (player.dataset && player.dataset.stop && player.currentTime >= Number(player.dataset.stop)) {
        player.pause();
        delete player.dataset.stop;
    }
}, true);
// Whoever moves the player by hand wants to go on watching.
document.addEventListener("seeking", (event) => {
    const player = event.target;
    if (player.dataset && player.dataset.stop && player.currentTime > Number(player.dataset.stop)) delete player.dataset.stop;
}, true);
