// A photo of one's own, chosen or dropped. Knows nothing of what becomes of it.

const $ = (id) => document.getElementById(id);

// given(file) is called for each.
export function takeFiles(given) {
  const take = (file) => file && given(file);
  $("file").addEventListener("change", (event) => {
    take(event.target.files[0]);
    event.target.value = "";
  });
  for (const name of ["focus", "blur"]) {
    $("file").addEventListener(name, (event) => event.target.labels[0].classList.toggle("focus", event.type === "focus"));
  }
  const isFile = (event) => event.dataTransfer?.types.includes("Files");
  let depth = 0;
  addEventListener("dragenter", (event) => {
    if (isFile(event)) $("drop").hidden = !(depth += 1);
  });
  addEventListener("dragleave", (event) => {
    if (isFile(event)) $("drop").hidden = !(depth = Math.max(0, depth - 1));
  });
  addEventListener("dragover", (event) => isFile(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    depth = 0;
    $("drop").hidden = true;
    take(event.dataTransfer.files[0]);
  });
}
