// What a template can't do: send a file with its progress, and start a download.
(function () {
  function say(text) {
    window.trame.trigger("spineseg_upload_failed", [text]);
  }
  function send(file) {
    const request = new XMLHttpRequest();
    request.open("POST", "upload?name=" + encodeURIComponent(file.name));
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) {
        window.trame.state.set("upload_percent", Math.round((100 * event.loaded) / event.total));
      }
    };
    request.onload = () => {
      window.trame.state.set("upload_percent", -1);
      if (request.status >= 400) say(request.responseText);
    };
    request.onerror = () => {
      window.trame.state.set("upload_percent", -1);
      say("The upload was interrupted. Try again.");
    };
    window.trame.state.set("upload_percent", 0);
    request.send(file);
  }
  function download(url) {
    const link = document.createElement("a");
    link.href = url;
    link.download = "";
    document.body.appendChild(link);
    link.click();
    link.remove();
  }
  window.trame.utils.spineseg = {
    choose() {
      const input = document.createElement("input");
      input.type = "file";
      input.id = "spineseg-file";
      input.style.display = "none";
      input.onchange = () => {
        if (input.files.length) send(input.files[0]);
        input.remove();
      };
      document.getElementById("spineseg-file")?.remove();
      document.body.appendChild(input);
      input.click();
    },
    drop(event) {
      if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
    },
    download,
  };
})();
