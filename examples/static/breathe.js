const IN = 4;
const OUT = 6;
const BREATHS = 6;

const circle = document.querySelector('.circle');
const words = circle.querySelector('span');
const button = document.querySelector('button');
const told = document.querySelector('output');

const seconds = (n) => new Promise((done) => setTimeout(done, n * 1000));

function turn(wide, duration) {
  circle.style.transitionDuration = words.style.transitionDuration = `${duration}s`;
  circle.classList.toggle('wide', wide);
  words.textContent = wide ? 'In' : 'Out';
  return seconds(duration);
}

button.addEventListener('click', async () => {
  button.disabled = true;
  for (let breath = 1; breath <= BREATHS; breath++) {
    told.textContent = `Breath ${breath} of ${BREATHS}`;
    await turn(true, IN);
    await turn(false, OUT);
  }
  words.textContent = 'Ready';
  told.textContent = 'That was a minute.';
  button.disabled = false;
});
